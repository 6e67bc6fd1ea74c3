"""A run is read back as it was written, also while it is still being written."""

from __future__ import annotations

from pathlib import Path

import pytest
from written_run import TASKS, write_run

from mftcoder.core.errors import UserError
from mftcoder.report.record import pairs, read


def test_tasks_series_and_overrides(tmp_path: Path) -> None:
    run = read(write_run(tmp_path / "run", overrides=("optimizer.lr=1e-3", "+tracker.wandb.tags=[a=b]", "~debug")))
    assert run.tasks == list(TASKS)
    assert [step for step, _ in run.series("valid/loss/code")] == [0, 10, 20, 30, 40]
    assert all(step % 3 for step, _ in run.series("train/loss/docs & <notes>"))
    assert 7 not in [step for step, _ in run.series("grad_norm")], "a null was taken for a number"
    assert run.overrides == {"optimizer.lr": "1e-3", "tracker.wandb.tags": "[a=b]", "debug": ""}
    assert run.status is not None
    assert run.status.state == "completed"


def test_the_line_that_is_being_written_is_left_out(tmp_path: Path) -> None:
    path = write_run(tmp_path / "run")
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 41, "train/l')
    assert read(path).metrics[-1]["step"] == 40


def test_only_the_metrics_are_needed(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 0}\n')
    run = read(tmp_path)
    assert (run.samples, run.config, run.overrides, run.status) == ([], "", {}, None)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"run={tmp_path}: no run, it has no metrics\.jsonl; name a directory"):
        read(tmp_path)


def test_answers_are_paired_by_prompt_first_with_last() -> None:
    samples = [{"task": "t", "prompt": p, "step": s, "answer": f"{p}{s}"} for s in (0, 5, 9) for p in ("a", "b")]
    assert [(before["answer"], after["answer"]) for before, after in pairs(samples)] == [("a0", "a9"), ("b0", "b9")]
