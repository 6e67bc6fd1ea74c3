"""status.json: what was noted stays until it is changed, and of two failures the first counts."""

from __future__ import annotations

from pathlib import Path

from mftcoder.storage import status
from mftcoder.storage.status import Status


def test_a_change_leaves_the_rest(tmp_path: Path) -> None:
    assert status.read(tmp_path) is None
    status.update(tmp_path, step=3)
    assert status.read(tmp_path) == Status(state="running", step=3)
    status.update(tmp_path, state="completed", metric=0.5)
    assert status.read(tmp_path) == Status(state="completed", step=3, metric=0.5)


def test_the_first_failure_is_the_cause_of_the_others(tmp_path: Path) -> None:
    status.update(tmp_path, step=3)
    status.fail(tmp_path, reason="RuntimeError: boom", rank=1)
    status.fail(tmp_path, reason="connection reset by peer", rank=0)
    assert status.read(tmp_path) == Status(state="failed", step=3, reason="RuntimeError: boom", rank=1)


def test_a_metric_that_json_does_not_know_is_none(tmp_path: Path) -> None:
    status.update(tmp_path, state="completed", metric=float("inf"))
    assert status.read(tmp_path) == Status(state="completed", metric=None)
