"""All trackers as one: each gets every call, and one that fails does not take the others with it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from mftcoder.core.errors import UserError
from mftcoder.tracker.base import Metrics, Tracker
from mftcoder.tracker.composite import Trackers


class Recorder(Tracker):
    """Keeps the calls, and raises `error` in the call named `fails_in`."""

    def __init__(self, *, fails_in: str = "", error: Exception | None = None, optional: bool = False) -> None:
        self.calls: list[Any] = []
        self.fails_in = fails_in
        self.error = error or RuntimeError("no route to host")
        self.optional = optional

    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        self._note("start", (run_dir, name, dict(config), tasks, total_steps))

    def resume(self, step: int) -> None:
        self._note("resume", step)

    def doing(self, what: str) -> None:
        self._note("doing", what)

    def log(self, metrics: Metrics) -> None:
        self._note("log", metrics["step"])

    def finish(self) -> None:
        self._note("finish", None)

    def _note(self, call: str, value: Any) -> None:
        self.calls.append(call if value is None else (call, value))
        if call == self.fails_in:
            raise self.error


STARTED = ("start", (Path("run"), "name", {"a": 1}, ["code"], 9))


def start(trackers: Tracker) -> None:
    trackers.start(run_dir=Path("run"), name="name", config={"a": 1}, tasks=["code"], total_steps=9)


def test_each_tracker_gets_every_call_in_order() -> None:
    first, second = Recorder(), Recorder()
    with Trackers({"first": first, "second": second}) as trackers:
        start(trackers)
        trackers.resume(4)
        trackers.doing("validating")
        trackers.log({"step": 5})
    assert first.calls == second.calls == [STARTED, ("resume", 4), ("doing", "validating"), ("log", 5), "finish"]


@pytest.mark.parametrize("call", ["start", "resume", "log"])
def test_an_optional_tracker_that_fails_is_warned_of_once_and_left_out(
    call: str, caplog: pytest.LogCaptureFixture
) -> None:
    away, here = Recorder(fails_in=call, optional=True), Recorder()
    with caplog.at_level(logging.WARNING), Trackers({"away": away, "here": here}) as trackers:
        start(trackers)
        trackers.resume(0)
        trackers.log({"step": 1})
        trackers.log({"step": 2})
    assert here.calls == [STARTED, ("resume", 0), ("log", 1), ("log", 2), "finish"]
    assert len([c for c in away.calls if c[0] == call]) == 1
    assert caplog.messages == ["tracker.away: RuntimeError: no route to host; the run goes on without it"]


@pytest.mark.parametrize("call", ["start", "resume", "log"])
def test_any_other_tracker_that_fails_ends_the_run_and_the_rest_is_finished(call: str) -> None:
    here, broken = Recorder(), Recorder(fails_in=call)

    def run() -> None:
        with Trackers({"here": here, "broken": broken}) as trackers:
            start(trackers)
            trackers.resume(0)
            trackers.log({"step": 1})

    with pytest.raises(RuntimeError, match="no route"):
        run()
    assert here.calls[-1] == "finish"
    assert here.calls.count("finish") == 1
    assert broken.calls.count("finish") == (call != "start")


def test_a_mistake_of_the_user_is_told_also_where_the_tracker_is_optional() -> None:
    with pytest.raises(UserError, match="pip install"):
        start(Trackers({"wandb": Recorder(fails_in="start", error=UserError("pip install it"), optional=True)}))


def test_all_are_finished_and_the_first_error_is_raised() -> None:
    first = Recorder(fails_in="finish", error=OSError("disk full"))
    second = Recorder(fails_in="finish", error=ValueError("later"))
    last = Recorder()
    trackers = Trackers({"first": first, "second": second, "last": last})
    start(trackers)
    with pytest.raises(OSError, match="disk full"):
        trackers.finish()
    assert last.calls[-1] == "finish"
    trackers.finish()
    assert last.calls.count("finish") == 1


def test_an_optional_tracker_may_fail_to_finish() -> None:
    trackers = Trackers({"away": Recorder(fails_in="finish", optional=True)})
    start(trackers)
    trackers.finish()


def test_the_error_of_the_run_is_not_hidden_by_one_of_the_trackers() -> None:
    trackers = Trackers({"full": Recorder(fails_in="finish", error=OSError("disk full"))})
    start(trackers)
    with pytest.raises(KeyError, match="the run's own"), trackers:
        raise KeyError("the run's own")
