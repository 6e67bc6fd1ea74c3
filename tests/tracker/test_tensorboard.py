"""TensorBoard reads back what was logged, each step once, also after a resume."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mftcoder.core.errors import UserError
from mftcoder.tracker.tensorboard import TensorBoard


def write(run_dir: Path, *steps: int, resumed: int | None = None, tb_dir: str | None = None) -> None:
    tracker = TensorBoard(tb_dir=tb_dir, flush_secs=30)
    tracker.start(run_dir=run_dir, name="name", config={}, tasks=["code"], total_steps=9)
    if resumed is not None:
        tracker.resume(resumed)
    for step in steps:
        tracker.log({"step": step, "train/loss/code": 1 / (step + 1), "tokens": 7})
    tracker.finish()


def read(directory: Path, name: str) -> list[tuple[int, float]]:
    events = EventAccumulator(str(directory))
    events.Reload()
    assert sorted(events.Tags()["scalars"]) == ["tokens", "train/loss/code"]
    return [(event.step, event.value) for event in events.Scalars(name)]


def test_the_scalars_are_read_back_under_their_names(tmp_path: Path) -> None:
    write(tmp_path, 1, 3)
    assert read(tmp_path / "tensorboard", "train/loss/code") == [(1, 0.5), (3, 0.25)]
    assert read(tmp_path / "tensorboard", "tokens") == [(1, 7), (3, 7)]


def test_steps_that_a_resumed_run_repeats_are_shown_once(tmp_path: Path) -> None:
    write(tmp_path, 1, 2, 3, 4)
    write(tmp_path, 3, 4, 5, resumed=2)
    assert [step for step, _ in read(tmp_path / "tensorboard", "tokens")] == [1, 2, 3, 4, 5]


def test_runs_may_share_a_directory(tmp_path: Path) -> None:
    write(tmp_path / "runs" / "first", 1, tb_dir=str(tmp_path / "tb"))
    assert read(tmp_path / "tb" / "name" / "first", "tokens") == [(1, 7)]


def test_the_package_that_is_missing_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(UserError, match=r"tracker=tensorboard: .*pip install 'mftcoder\[trackers\]'"):
        write(tmp_path, 1)
