"""All trackers of a run as one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from mftcoder.core.errors import UserError
from mftcoder.tracker.base import Metrics, Tracker

log = logging.getLogger(__name__)


class Trackers(Tracker):
    """Passes every call on to each of `trackers`, by name; as a context manager it finishes them at its end.

    An optional tracker that fails is warned of once and left out from then on.
    """

    def __init__(self, trackers: Mapping[str, Tracker]) -> None:
        self._trackers = dict(trackers)
        self._running: dict[str, Tracker] = {}

    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Start all; where one that is not optional fails, those started before it are finished."""

        def begin(tracker: Tracker) -> None:
            tracker.start(run_dir=run_dir, name=name, config=config, tasks=tasks, total_steps=total_steps)

        try:
            for label, tracker in self._trackers.items():
                if _succeeds(label, tracker, begin):
                    self._running[label] = tracker
        except BaseException:
            self._finish()
            raise

    def resume(self, step: int) -> None:
        """All of them forget what came after `step`."""
        self._each(lambda tracker: tracker.resume(step))

    def doing(self, what: str) -> None:
        """Tell all."""
        self._each(lambda tracker: tracker.doing(what))

    def log(self, metrics: Metrics) -> None:
        """Log to all."""
        self._each(lambda tracker: tracker.log(metrics))

    def finish(self) -> None:
        """Finish all, whatever fails; then raise the first error of one that is not optional."""
        if failure := self._finish():
            raise failure

    def __enter__(self) -> Trackers:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        failure = self._finish()
        if failure and error is None:
            raise failure

    def _each(self, action: Callable[[Tracker], None]) -> None:
        self._running = {label: t for label, t in self._running.items() if _succeeds(label, t, action)}

    def _finish(self) -> Exception | None:
        first: Exception | None = None
        for label, tracker in self._running.items():
            try:
                tracker.finish()
            except Exception as error:
                _warn(label, error, "what it holds may be incomplete")
                first = first or (None if tracker.optional else error)
        self._running = {}
        return first


def _succeeds(label: str, tracker: Tracker, action: Callable[[Tracker], None]) -> bool:
    try:
        action(tracker)
    except Exception as error:
        if isinstance(error, UserError) or not tracker.optional:
            raise
        _warn(label, error, "the run goes on without it")
        return False
    return True


def _warn(label: str, error: Exception, consequence: str) -> None:
    log.warning("tracker.%s: %s: %s; %s", label, type(error).__name__, error, consequence)
