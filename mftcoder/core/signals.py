"""Requests to stop: a signal sets a flag, and the loop asks for it between two steps."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import FrameType, TracebackType
from typing import Any

from mftcoder.core.errors import Preempted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
LAUNCHED = "MFTCODER_LAUNCHED"  # Set for workers of our own launcher, which asks with SIGUSR1.
Handler = Callable[[int, FrameType | None], Any] | int | None


@contextmanager
def at_once() -> Iterator[None]:
    """Within it, while there is nothing to save yet, the same signals raise Preempted; StopRequest then takes over.

    A process of several leaves by itself: launchers signal all of them, and end those that are left. Nothing happens
    outside of the main thread, nor in workers of our own launcher, which knows by itself that it was asked to stop.
    """
    if LAUNCHED in os.environ:
        yield
        return
    pid = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:
            raise Preempted("stopped before there was anything to save", together=False)
        signal.signal(number, signal.SIG_DFL)  # A child that inherits the handler.
        os.kill(os.getpid(), number)

    with _handling(leave):
        yield


def deaf() -> AbstractContextManager[None]:
    """Within it the same signals do nothing, for what takes but a moment and must be done.

    Launchers ask a process to end when another has ended, also where both are ending already.
    """
    return _handling(signal.SIG_IGN)


@contextmanager
def _handling(handler: Handler) -> Iterator[None]:
    """Within it `handler` gets the signals; not outside of the main thread, where Python allows no handlers."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Handler] = {number: signal.signal(number, handler) for number in SIGNALS}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


class StopRequest:
    """Within its context, Ctrl-C, SIGTERM, SIGUSR1 and SIGUSR2 only ask the run to stop at the next step boundary.

    A second Ctrl-C ends the process at once. Children that inherit the handlers (data workers) ignore the signals:
    the parent decides. In a worker of our own launcher SIGTERM keeps its meaning: another rank is dead, so that
    waiting for it would be in vain. Outside of the main thread, where Python allows no handlers, nothing ever requests
    a stop.
    """

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None
        self._pid = os.getpid()
        self._previous: dict[signal.Signals, Handler] = {}

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            numbers = set(SIGNALS) - ({signal.SIGTERM} if LAUNCHED in os.environ else set())
            self._previous = {number: signal.signal(number, self._handle) for number in numbers}
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            os.kill(self._pid, signal.SIGINT)
        self.signal = signal.Signals(number)
