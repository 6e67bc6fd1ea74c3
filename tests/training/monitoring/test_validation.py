"""Training where nothing is held out, and where validation gives no number."""

from __future__ import annotations

import math

import pytest
import torch
from run_files import StopAt, metrics, step_files
from small_tasks import SIZES, train_only

from mftcoder.core.errors import Preempted, UserError
from mftcoder.launch.sweep import show
from mftcoder.report.draw import draw
from mftcoder.storage import status

WARNING = "no task has a validation sample"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return train_only(tmp_path_factory.mktemp("data"), *SIZES)


def warnings(caplog) -> list[str]:
    return [r.getMessage() for r in caplog.records if WARNING in r.getMessage()]


def test_without_validation_samples_a_run_trains_warns_once_and_has_no_metric(run, data, tmp_path, caplog):
    assert run(tmp_path / "a", data, "training.log_interval=4", "training.early_stopping_stall_num=1") is None
    (warning,) = warnings(caplog)
    assert "data.data_split=[95,5,0]" in warning
    lines = metrics(tmp_path / "a")
    assert [line["step"] for line in lines] == [4, 6], "the last step is logged whatever the interval"
    assert all("train/loss" in line and not any("valid" in name for name in line) for line in lines)
    checkpoints = tmp_path / "a" / "checkpoints"
    assert sorted(path.name for path in checkpoints.iterdir()) == [
        "latest",
        *(f"step_00000{n}" for n in (2, 4, 6)),
    ]
    draw(tmp_path / "a")


def test_it_goes_on_to_the_bit_as_well(run, data, tmp_path):
    run(tmp_path / "whole", data)
    with pytest.raises(Preempted):
        run(tmp_path / "part", data, also=StopAt(3))
    assert run(tmp_path / "rest", data, f"resume={tmp_path / 'part'}") is None
    assert step_files(tmp_path / "rest", 6) == step_files(tmp_path / "whole", 6)


def test_a_balancer_that_wants_validation_losses_weighs_all_alike_and_the_warning_says_so(run, data, tmp_path, caplog):
    coba = ("balancer=coba", "balancer.coba_warmup_steps=1", "balancer.coba_update_interval=1")
    run(tmp_path / "a", data, *coba, "training.max_train_steps=3")
    (warning,) = warnings(caplog)
    assert "The balancer weighs by validation losses, and will weigh all tasks alike" in warning
    weights = [w for name, w in metrics(tmp_path / "a")[-1].items() if name.startswith("train/weight/")]
    assert weights == pytest.approx([1 / len(weights)] * len(weights))


def test_jobs_without_a_metric_are_in_the_table_and_the_page_of_a_sweep(run, data, tmp_path, capsys):
    for number in range(2):
        job = tmp_path / "sweep" / f"{number}-a"
        metric = run(job, data, "training.max_train_steps=2", f"seed={number}")
        status.update(job, state="completed", metric=metric)
    show(tmp_path / "sweep")
    printed = capsys.readouterr().out
    assert printed.count("completed") == 2
    assert "*" not in printed
    assert "mean validation loss" not in (tmp_path / "sweep" / "report.html").read_text()


def break_weights_before(monkeypatch, step: int) -> None:
    """Weights that a step too far made NaN, as the validation after `step` finds them."""
    from mftcoder.training.loop import Trainer

    real = Trainer.step

    def bad(trainer, number, micro_batches):
        report = real(trainer, number, micro_batches)
        if number + 1 == step:
            with torch.no_grad():
                next(iter(trainer.engine.parameters())).fill_(math.nan)
        return report

    monkeypatch.setattr(Trainer, "step", bad)


def test_validation_losses_that_are_nan_are_the_worst_and_the_plan_decides_of_the_next_step(run, tmp_path, monkeypatch):
    break_weights_before(monkeypatch, 3)
    with pytest.raises(UserError, match="step 4: loss or gradient is not finite"):
        run(tmp_path / "a", "training.evaluation_steps=1")
    last = metrics(tmp_path / "a")[-1]
    assert (last["step"], last["valid/loss"], last["valid/loss/add"]) == (3, None, None)
    best = min((m for m in metrics(tmp_path / "a") if m["valid/loss"] is not None), key=lambda m: m["valid/loss"])
    assert (tmp_path / "a" / "checkpoints" / "best").read_text() == f"step_{best['step']:06d}"


def test_a_run_whose_only_validation_is_nan_has_an_infinite_metric_and_is_never_the_best_job(
    run, tmp_path, monkeypatch, capsys
):
    sweep = tmp_path / "sweep"
    options = ("training.evaluate_first=false", "training.max_train_steps=2")
    metric = run(sweep / "0-a", *options)
    status.update(sweep / "0-a", state="completed", metric=metric)
    break_weights_before(monkeypatch, 2)
    assert run(sweep / "1-b", *options) == math.inf
    status.update(sweep / "1-b", state="completed", metric=math.inf)
    assert "Infinity" not in (sweep / "1-b" / "status.json").read_text()
    capsys.readouterr()
    show(sweep)
    printed = capsys.readouterr().out
    assert f"{metric:.6g}" in printed
    assert "inf" not in printed
    assert (sweep / "report.html").read_text().index("0-a") < (sweep / "report.html").read_text().index("1-b")
