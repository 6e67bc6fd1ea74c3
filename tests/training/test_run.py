"""What a run says before it begins, and when it ends: also where nothing improves, or nothing is left to train on."""

from __future__ import annotations

import json

import pytest
import torch
from run_files import StopAt, metrics
from safetensors.torch import load_file
from small_tasks import OPTIONS, SIZES, train_only

from mftcoder.cli import config
from mftcoder.core.errors import Preempted
from mftcoder.training.monitoring.anomalies import Anomalies


def test_a_run_that_stopped_early_takes_no_more_steps_when_it_is_resumed(run, tmp_path):
    options = ("optimizer.lr=0", "training.early_stopping_stall_num=1")
    metric = run(tmp_path / "a", *options)
    lines = metrics(tmp_path / "a")
    assert lines[-1]["step"] == 2
    for _ in range(2):
        assert run(tmp_path / "a", *options, f"resume={tmp_path / 'a'}") == metric
        assert metrics(tmp_path / "a") == lines
    run(tmp_path / "more", *options, f"resume={tmp_path / 'a'}", "training.early_stopping=false", "resume_force=true")
    assert metrics(tmp_path / "more")[-1]["step"] == 6


def test_a_run_that_is_told_to_end_before_where_it_is_ends_there(run, tmp_path):
    run(tmp_path / "a", "training.max_train_steps=4")
    run(tmp_path / "b", "training.max_train_steps=2", f"resume={tmp_path / 'a'}")
    assert not list((tmp_path / "b" / "checkpoints").glob("step_*"))


FREEZING = ("optimizer.lr=0", "training.freeze_stall_num=1", "training.early_stopping=false")


def test_a_task_that_no_longer_improves_is_frozen_and_stays_so_on_resume(run, tmp_path):
    """Where nothing is learnt, the first validation after the start freezes every task that it has samples of."""
    options = (*FREEZING, train_only(tmp_path / "data", "say"), "data.stratified=true")
    with pytest.raises(Preempted):
        run(tmp_path / "part", *options, also=StopAt(3))
    run(tmp_path / "rest", *options, f"resume={tmp_path / 'part'}", "training.evaluation_steps=null")
    lines = [m for name in ("part", "rest") for m in metrics(tmp_path / name) if m["step"] > 0]
    assert [m["train/weight/add"] for m in lines] == pytest.approx([1 / 3, 1 / 3, 0, 0, 0, 0])
    assert [m["train/weight/say"] for m in lines] == pytest.approx([1 / 3, 1 / 3, 1, 1, 1, 1])


def test_a_run_whose_tasks_are_all_frozen_without_any_weight_ends_and_says_so(run, tmp_path, caplog):
    caplog.set_level("INFO", logger="mftcoder")
    metric = run(tmp_path / "a", *FREEZING)
    assert metrics(tmp_path / "a")[-1]["step"] == 2
    assert "step 2: no task has any weight left" in caplog.text
    assert (tmp_path / "a" / "checkpoints" / "latest").read_text() == "step_000002"
    assert run(tmp_path / "a", *FREEZING, f"resume={tmp_path / 'a'}") == metric
    assert metrics(tmp_path / "a")[-1]["step"] == 2
    run(tmp_path / "b", *FREEZING, "training.frozen_weight=0.1")
    assert metrics(tmp_path / "b")[-1]["step"] == 6


def cells(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_run_begins_by_saying_what_it_is_about_to_do_also_when_it_goes_on(run, tmp_path, capsys):
    options = ("training.max_train_steps=2", "+data.tasks.say.weight=2", train_only(tmp_path / "data", "say"))
    for resume in ("none", str(tmp_path / "a")):
        capsys.readouterr()
        run(tmp_path / "a", *options, f"resume={resume}")
        out = capsys.readouterr().out
        rows = cells(out)
        assert ["task", "train", "valid", "test", "train", "tokens", "weight"] in rows
        (add,) = [row for row in rows if row[:1] == ["add"] and len(row) == 6 and row[2].isdigit()]
        assert [*add[1:4], add[5]] == ["32", "8", "0", "1"]
        (say,) = [row for row in rows if row[:1] == ["say"] and len(row) == 6 and row[2].isdigit()]
        assert [*say[1:4], say[5]] == ["6", "0", "0", "2"]
        assert "4 packs a step, 2 steps; " in out
    saved = load_file(tmp_path / "a" / "checkpoints" / "step_000002" / "adapter_model.safetensors")
    assert f"; {sum(tensor.numel() for tensor in saved.values()):,} of " in out


@pytest.mark.parametrize("quantization", ["none", "nf4", "int8"])
def test_quantised_parameters_count_as_what_they_stand_for(run, tmp_path, capsys, quantization):
    if quantization != "none":
        pytest.importorskip("bitsandbytes")
    run(tmp_path / "a", "training.max_train_steps=1", f"quantization={quantization}", "training.evaluate_first=false")
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "parameters are trained" in line]
    model = config.load(*OPTIONS)["model"]
    net = config.build(model).load(None, torch.device("cpu"), frozen=True)
    trained, every = (int(word.replace(",", "")) for word in line.split("; ")[1].split()[::2][:2])
    assert every - trained == sum(parameter.numel() for parameter in net.parameters())


def test_a_run_whose_rollback_used_up_the_data_ends_as_any_other(run, tmp_path, caplog, monkeypatch):
    """One epoch is 6 steps, of which the rollback at step 3 throws one away."""
    caplog.set_level("INFO", logger="mftcoder")
    judge, sent = Anomalies.judge, []

    def roll_back_once(self, report):
        if report.step == 3 and not sent:
            sent.append(report.step)
            return "roll_back"
        return judge(self, report)

    monkeypatch.setattr(Anomalies, "judge", roll_back_once)
    repeats = [f"+data.tasks.{task}.repeat=1" for task in SIZES]
    length = ("training.max_train_steps=null", "training.num_train_epochs=1")
    options = (*repeats, *length, "training.evaluation_steps=null", "training.evaluate_first=false")
    whole = run(tmp_path / "a", *options)
    (line,) = [r.getMessage() for r in caplog.records if "rollbacks have used up the data" in r.getMessage()]
    step = int(line.split()[1].rstrip(":"))
    assert f"the run ends before step {step + 1}" in line
    last = metrics(tmp_path / "a")[-1]
    assert (last["step"], last["valid/loss"]) == (step, pytest.approx(whole))
    assert (tmp_path / "a" / "checkpoints" / "latest").read_text() == f"step_{step:06d}"
    assert run(tmp_path / "a", *options, f"resume={tmp_path / 'a'}") == whole


def test_logged_losses_are_means_over_the_tokens_since_the_last_log_across_a_stop(run, tmp_path):
    """Against the losses of every step, with a stop between two logs."""
    options = ("training.evaluation_steps=null", "training.evaluate_first=false", "objective.reduction=sample")
    run(tmp_path / "each", *options)
    each = {m["step"]: m for m in metrics(tmp_path / "each")}
    with pytest.raises(Preempted):
        run(tmp_path / "part", *options, "training.log_interval=3", also=StopAt(3))
    run(tmp_path / "part", *options, "training.log_interval=2", f"resume={tmp_path / 'part'}", "resume_force=true")
    logged = {m["step"]: m for m in metrics(tmp_path / "part")}
    assert list(logged) == [3, 4, 6]
    for step, window in ((3, (1, 2, 3)), (6, (5, 6))):
        own = [each[number] for number in window]
        assert logged[step]["train/loss"] == pytest.approx(sum(m["train/loss"] for m in own) / len(own))
        for task in SIZES:
            name = f"train/loss/{task}"
            assert (name in logged[step]) == any(name in m for m in own)


def test_a_task_without_a_share_is_validated_but_counts_in_no_mean(run, tmp_path):
    metric = run(tmp_path / "a", "+data.tasks.double.share=0", "balancer=coba", "balancer.coba_warmup_steps=1")
    last = metrics(tmp_path / "a")[-1]
    losses = {task: last[f"valid/loss/{task}"] for task in SIZES}
    assert last["valid/loss"] == pytest.approx((losses["add"] + losses["say"]) / 2)
    lowest = {t: min(m[f"valid/loss/{t}"] for m in metrics(tmp_path / "a") if "valid/loss" in m) for t in SIZES}
    assert metric == pytest.approx((lowest["add"] + lowest["say"]) / 2)
    assert last["train/effective_weight/double"] == 0
    progress = json.loads((tmp_path / "a" / "checkpoints" / "step_000006" / "progress.json").read_text())
    assert "double" not in json.dumps(progress["validations"])
