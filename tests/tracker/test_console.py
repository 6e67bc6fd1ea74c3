"""The terminal: a table after each evaluation, a bar on a terminal and lines elsewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from mftcoder.tracker import console
from mftcoder.tracker.console import Console

TASKS = ["code", "docs", "[bold]odd[/bold]"]


class Time:
    """A clock that the test moves."""

    now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    clock = Time()
    monkeypatch.setattr(console, "time", clock)
    return clock


def started(style: str = "lines", max_tasks: int = 8) -> Console:
    tracker = Console(style=style, max_tasks=max_tasks)  # type: ignore[arg-type]
    tracker.start(run_dir=Path("runs/x"), name="x", config={}, tasks=TASKS, total_steps=10)
    return tracker


def train(step: int) -> dict[str, float]:
    losses = {f"train/loss/{task}": step + i / 10 for i, task in enumerate(TASKS) if i != step % 3}
    weights = {f"train/weight/{task}": 0.5 for i, task in enumerate(TASKS) if i != step % 3}
    effective = {f"train/effective_weight/{task}": (0.25, 0.35, 0.4)[i] for i, task in enumerate(TASKS)}
    overall = {"step": step, "train/loss": 1 / step, "learning_rate": 2e-4, "tokens_per_second": 1234.5}
    return overall | losses | weights | effective


def valid(step: int, *losses: float) -> dict[str, float]:
    by_task = {f"valid/loss/{task}": loss for task, loss in zip(TASKS, losses, strict=True)}
    return {"step": step, "valid/loss": sum(losses) / len(losses), **by_task}


def rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_without_a_terminal_each_log_is_one_line_however_long(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = started()
    tracker.log(train(2))
    tracker.finish()
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "x: 3 tasks, 10 steps, runs/x"
    assert out[1] == "2/10  loss 0.5000  lr 2.00e-04  1,234 tokens/s  code 2.000 · docs 2.100 · [bold]odd[/bold] –"
    assert len(out) == 2


def test_an_absent_task_has_a_dash_and_brackets_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = started()
    tracker.log(train(1))
    tracker.log(train(2))
    tracker.finish()
    assert capsys.readouterr().out.splitlines()[2].endswith("code 2.000 · docs 2.100 · [bold]odd[/bold] –")


def test_only_so_many_tasks_are_beside_the_bar(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = started(max_tasks=1)
    tracker.log(train(2))
    tracker.finish()
    assert capsys.readouterr().out.splitlines()[1].endswith("tokens/s  code 2.000")


def test_the_table_shows_each_tasks_first_best_and_present_loss(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = started()
    tracker.log(valid(0, 3.0, 2.0, 4.0))
    tracker.log(train(1) | valid(1, 1.0, 1.5, 3.5))
    tracker.log(train(2) | valid(2, 1.25, 1.75, 3.0))
    tracker.finish()
    out = capsys.readouterr().out
    assert ["task", "effective", "weight", "train", "step", "0", "best", "now", "change"] in rows(out)
    assert ["code", "3.0000"] in rows(out), "nothing was trained yet"
    last = rows(out[out.index("validation after step 2") :])
    assert ["code", "0.2500", "2.0000", "3.0000", "1.0000", "1.2500", "-1.7500"] in last
    assert ["docs", "0.3500", "2.1000", "2.0000", "1.5000", "1.7500", "-0.2500"] in last
    assert ["[bold]odd[/bold]", "0.4000", "–", "4.0000", "3.0000", "3.0000", "-1.0000"] in last
    assert ["mean", "of", "tasks", "0.5000", "3.0000", "2.0000", "2.0000", "-1.0000"] in last


def test_a_task_without_validation_dialogues_has_no_row(capsys: pytest.CaptureFixture[str]) -> None:
    tracker = started()
    metrics = valid(0, 3.0, 2.0, 4.0)
    del metrics["valid/loss/docs"]
    tracker.log(metrics)
    tracker.finish()
    assert "docs" not in capsys.readouterr().out


def test_the_time_left_follows_the_pace_after_the_first_step(capsys: pytest.CaptureFixture[str], time: Time) -> None:
    """The first step takes 60 s and says nothing; then 2 s a step leave 7 x 2 s after the third."""
    tracker = started()
    for step, seconds in ((1, 60), (2, 2), (3, 2)):
        time.now += seconds
        tracker.log(train(step))
    tracker.finish()
    first, second, third = capsys.readouterr().out.splitlines()[1:]
    assert "left" not in first
    assert "  0:00:16 left" in second
    assert "  0:00:14 left" in third


def test_a_resumed_run_counts_only_its_own_steps_as_pace(capsys: pytest.CaptureFixture[str], time: Time) -> None:
    tracker = started()
    tracker.resume(5)
    for step in (6, 7):
        time.now += 3600
        tracker.log(train(step))
    tracker.finish()
    out = capsys.readouterr().out
    assert "x: continuing after step 5" in out
    assert "7/10" in out
    assert "3:00:00 left" in out


def test_on_a_terminal_a_bar_moves_and_its_last_state_stays(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "150")
    tracker = started("auto")
    assert tracker._live is not None
    tracker.doing("validating")
    tracker._live.refresh()
    tracker.log(train(5))
    tracker._live.refresh()
    tracker.log(train(10))
    tracker.finish()
    out = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", capsys.readouterr().out)
    assert re.search(r"x ━+ 0/10 +validating", out)
    stepping = re.search(r"x ━+.*5/10  loss 0\.2000.*", out)
    assert stepping
    assert "validating" not in stepping[0]
    assert out.rstrip().splitlines()[-1].startswith("10/10  loss 0.1000")


def test_a_job_of_a_sweep_says_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MFTCODER_SWEEP", "1")
    tracker = started()
    tracker.log(valid(0, 3.0, 2.0, 1.0))
    tracker.log(train(2))
    tracker.log(valid(2, 2.0, 1.0, 0.6))
    assert capsys.readouterr().out == ""
    tracker.finish()
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("x: 2/10  loss 0.5000")
    assert line.endswith("validation 2.0000 → 1.2000")


def test_the_first_validation_has_nothing_to_compare_with(capsys: pytest.CaptureFixture[str]) -> None:
    started().log(valid(0, 3.0, 2.0, 1.0))
    out = capsys.readouterr().out
    assert ["code", "3.0000"] in rows(out)
    assert "change" not in out
