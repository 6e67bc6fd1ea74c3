"""Runs a job on the ranks of a group of forked processes, which have everything imported; once for all of pytest."""

from __future__ import annotations

import gc
import importlib
import os
import signal
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import pytest
from filelock import FileLock


def shared(factory: pytest.TempPathFactory) -> Path:
    """The directory that the processes of one pytest have in common."""
    own = factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


def once(name: Path, job: Callable[[], object]) -> None:
    """Do `job` in the first process of pytest that asks for `name`; all fail where it fails."""
    name.parent.mkdir(parents=True, exist_ok=True)
    ended = name.with_name(f"{name.name}.ended")
    with FileLock(f"{name}.lock"):
        if not ended.exists():
            try:
                job()
                ended.touch()
            except BaseException:
                ended.write_text(traceback.format_exc(), encoding="utf-8")
                raise
    assert not (failure := ended.read_text(encoding="utf-8")), failure


def import_deepspeed() -> None:
    """Import it once for all ranks that are forked, which build no kernel: it has one, for inference alone."""
    ops = importlib.import_module("deepspeed.ops")
    ops.__compatible_ops__["deepspeed_shm_comm"] = False


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def on_ranks(number: int, job: Callable[[], object], logs: Path, *, seconds: float = 600) -> None:
    """Do `job` on every rank, as torchrun's processes would; the output of failing ranks is the message."""
    world = {"WORLD_SIZE": str(number), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    logs.mkdir(parents=True)
    files = [logs / f"rank-{rank}.log" for rank in range(number)]
    sys.stdout.flush()
    left, codes = {}, {}
    for rank, file in enumerate(files):
        if (pid := os.fork()) == 0:
            _be_rank({**world, "RANK": str(rank), "LOCAL_RANK": str(rank)}, file, job)
        left[pid] = rank
    end = time.monotonic() + seconds
    try:
        while left and time.monotonic() < end and not any(codes.values()):
            codes |= {left.pop(pid): os.waitstatus_to_exitcode(code) for pid, code in _ended(left)}
            time.sleep(0.01)
    finally:
        for pid in left:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    assert codes == dict.fromkeys(range(number), 0), "\n".join(f.read_text()[-4000:] for f in files if f.exists())


def _ended(pids: dict[int, int]) -> list[tuple[int, int]]:
    """Those that ended, with the status of each."""
    return [(pid, code) for pid, code in (os.waitpid(pid, os.WNOHANG) for pid in pids) if pid]


def _be_rank(place: dict[str, str], file: Path, job: Callable[[], object]) -> NoReturn:
    """In a forked process: do the job with the output in a file, and end without the interpreter's own exit.

    In it Gloo's threads sometimes abort, and what pytest has registered is not for this process.
    """
    code = 1
    try:
        sys.stdout = sys.stderr = file.open("w", buffering=1, encoding="utf-8")
        for stream in (1, 2):
            os.dup2(sys.stdout.fileno(), stream)
        os.environ |= place
        warnings.simplefilter("default")  # As in a process of its own; pytest makes errors of them.
        gc.freeze()  # What was imported stays: collections need not look at it.
        job()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)
