"""When a run ends: after its last step, where nothing improves any more, and where nothing is left to train on."""

from __future__ import annotations

import pytest
from conftest import train_only
from test_train import StopAt, metrics

from mftcoder.core.errors import Preempted


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
