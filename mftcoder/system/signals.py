"""What signals do: a request to stop between two steps, an end at once, or nothing for a moment."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import Any

from mftcoder.core.errors import Preempted

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)
LAUNCHED = "MFTCODER_LAUNCHED"  # Set for workers of our own launcher, which asks with SIGUSR1.
Handler = Callable[[int, FrameType | None], Any] | int | None


@contextmanager
def handling(handler: Handler, numbers: Collection[signal.Signals] = SIGNALS) -> Iterator[None]:
    """Gives the signals to `handler` within the block, and back to whom they belonged at its end.

    Outside of the main thread, where Python allows no handlers, it does nothing.

    Args:
        handler: as for signal.signal.
        numbers: the signals.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[signal.Signals, Handler] = {number: signal.signal(number, handler) for number in numbers}
    try:
        yield
    finally:
        for number, earlier in before.items():
            signal.signal(number, earlier)


@contextmanager
def ending_at_once() -> Iterator[None]:
    """Makes a signal raise Preempted within the block, while there is nothing to save yet; StopRequest takes over then.

    A process of several leaves by itself: launchers signal all of them, and end those that are left. Workers of our own
    launcher are left alone, for it knows by itself that it was asked to stop.
    """
    if LAUNCHED in os.environ:
        yield
        return
    pid = os.getpid()

    def leave(number: int, frame: FrameType | None) -> None:
        if os.getpid() == pid:
            raise Preempted("stopped before there was anything to save", together=False, saved=False)
        signal.signal(number, signal.SIG_DFL)  # A child that inherits the handler.
        os.kill(os.getpid(), number)

    with handling(leave):
        yield


def ignoring() -> AbstractContextManager[None]:
    """Ignores the signals within the block, for what takes but a moment and must be done.

    Launchers ask a process to end when another has ended, also where both are ending already.
    """
    return handling(signal.SIG_IGN)


class StopRequest:
    """Turns signals into a request within its context: the run stops at the next step boundary.

    A second Ctrl-C ends the process at once. Children that inherit the handlers (data workers) ignore the signals:
    the parent decides. In a worker of our own launcher SIGTERM keeps its meaning: another rank is dead, so that
    waiting for it would be in vain. Outside of the main thread nothing ever requests a stop.

    Args:
        farewell: gives the line that is shown where a second Ctrl-C ends the process.
    """

    def __init__(self, farewell: Callable[[], str] | None = None) -> None:
        self.signal: signal.Signals | None = None
        self._farewell = farewell
        self._pid = os.getpid()
        self._handling: AbstractContextManager[None] = nullcontext()

    @property
    def requested(self) -> bool:
        """Whether a signal has come."""
        return self.signal is not None

    def __enter__(self) -> StopRequest:
        numbers = [n for n in SIGNALS if n != signal.SIGTERM or LAUNCHED not in os.environ]
        self._handling = handling(self._handle, numbers)
        self._handling.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._handling.__exit__(None, None, None)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._pid:
            return
        if number == signal.SIGINT and self.signal == signal.SIGINT:
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if self._farewell is not None:
                os.write(2, f"\n{self._farewell()}\n".encode())
            os.kill(self._pid, signal.SIGINT)
        self.signal = signal.Signals(number)
