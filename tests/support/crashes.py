"""Runs a job in a forked process, to be killed there at a chosen moment: quick, since everything is imported."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mftcoder.core.errors import Preempted
from mftcoder.tracker.base import Tracker


def forked(job: Callable[[], object]) -> int:
    """The exit code of a process that does `job`, minus the number of the signal that ended it."""
    sys.stdout.flush()
    if (pid := os.fork()) == 0:
        code = 1
        try:
            job()
            code = 0
        except Preempted as stop:
            code = int(stop.code or 0)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def die() -> None:
    """End this process as an out-of-memory killer or a pulled plug does."""
    os.kill(os.getpid(), signal.SIGKILL)


def at_change(number: int, directory: Path, act: Callable[[], object]) -> None:
    """In this process from now on, `act` right before the file system below `directory` changes for the n-th time.

    Changes are what Python tells its audit hooks of: files opened to be written, made, renamed or removed; and syncs.
    """
    left = number
    events = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"}
    sync = os.fsync

    def count() -> None:
        nonlocal left
        left -= 1
        if left == 0:
            act()

    def hook(event: str, args: tuple[Any, ...]) -> None:
        here = event in events and isinstance(args[0], str | Path) and str(args[0]).startswith(str(directory))
        if here and (event != "open" or (isinstance(args[1], str) and set(args[1]) & set("wax+"))):
            count()

    def counted_sync(descriptor: int) -> None:
        count()
        sync(descriptor)

    sys.addaudithook(hook)
    os.fsync = counted_sync  # type: ignore[assignment]


class At(Tracker):
    """Does something once a step was logged."""

    def __init__(self, step: int, act: Callable[[], object]) -> None:
        self.step = step
        self.act = act

    def start(self, **about: Any) -> None:
        pass

    def log(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == self.step:
            self.act()

    def finish(self) -> None:
        pass
