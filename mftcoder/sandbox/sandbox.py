"""Runs programs contained, several at a time, in results that do not depend on how many."""

from __future__ import annotations

import marshal
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from mftcoder.core.errors import UserError, raise_faults
from mftcoder.system.progress_bar import progress

GRACE = 10.0  # seconds that a machine under load may need around a program
SCRIPT = Path(__file__).with_name("contained.py")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a program ended.

    Args:
        passed: it came to its end, or its command ended with exit code 0.
        reason: passed; failed, with the last line of its output; timed out; killed by a signal.
        output: the last of what it printed.
        seconds: from its start to its end.
    """

    passed: bool
    reason: str
    output: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Sandbox:
    """Namespaces and limits for each program; memory is for each of its processes.

    A Python program passes where it is executed to its last statement: sys.exit and os._exit are failures. It can reach
    no file, process or network of ours. What it can do is to fool the checker in its own process, if it aims at that.

    Args:
        seconds: wall clock; afterwards all of its processes are killed.
        memory_bytes: address space of each process (with `run`, its data segment).
        file_bytes: the largest file, and the most output.
        disk_bytes: of all its files, which are in memory.
        processes: processes and threads at a time.
        open_files: open files of each process.
        num_workers: programs at a time; None for one a core.
        run: the command for another language, as "node {file}"; None is Python.
        require_isolation: refuse to run where the machine gives us no namespaces; false runs with the limits alone, and
            then the program can reach the network and all files that others may read.
    """

    seconds: float
    memory_bytes: int
    file_bytes: int
    disk_bytes: int
    processes: int
    open_files: int
    num_workers: int | None
    run: str | None
    require_isolation: bool

    def __post_init__(self) -> None:
        counts = ("seconds", "memory_bytes", "file_bytes", "disk_bytes", "processes", "open_files")
        faults = [f"{name}: {getattr(self, name)} is not above 0" for name in counts if getattr(self, name) <= 0]
        if self.num_workers is not None and self.num_workers < 1:
            faults.append(f"num_workers: {self.num_workers} is below 1; null is one a core")
        if self.run is not None and "{file}" not in self.run:
            faults.append(f"run: {self.run!r} does not say where the program is; expected 'node {{file}}'")
        raise_faults(faults, ValueError)

    def outcomes(self, programs: Sequence[str]) -> list[Outcome]:
        """How each program ended, in order.

        Raises:
            UserError: where the machine does not let us isolate them, and that is required.
        """
        if not programs:
            return []
        isolate = self.isolates()
        with ThreadPoolExecutor(self.num_workers or os.cpu_count() or 1) as workers, progress(transient=True) as bar:
            task = bar.add_task("running programs", total=len(programs))
            found = []
            for outcome in workers.map(lambda program: self._outcome(program, isolate), programs):
                found.append(outcome)
                bar.advance(task)
        return found

    def isolates(self) -> bool:
        """Whether programs get namespaces here.

        Raises:
            UserError: where they do not, and that is required.
        """
        told = self._contained("pass", isolate=True)
        if "error" not in told:
            return True
        if not self.require_isolation:
            return False
        raise UserError(
            f"sandbox: this machine cannot isolate programs ({told['error']}); run as root or where unprivileged user "
            "namespaces are allowed, or give sandbox.require_isolation=false if all of these programs may use the "
            "network and read your files"
        )

    def _outcome(self, program: str, isolate: bool) -> Outcome:
        told = self._contained(program, isolate=isolate)
        if "error" in told:
            raise UserError(f"sandbox: a program could not be started: {told['error']}")
        passed = not told["late"] and (told["status"] == 0 if self.run else told["finished"])
        return Outcome(passed, _reason(told, passed), told["output"], told["took"])

    def _contained(self, program: str, *, isolate: bool) -> dict[str, Any]:
        """What contained.py tells of one program."""
        with _directory() as root:
            job = {
                **{name: getattr(self, name) for name in self.__dataclass_fields__},
                "program": program,
                "command": None if self.run is None else shlex.split(self.run),
                "isolate": isolate,
                "root": root,
                "readable": readable(),
                "packages": packages(),
                "nonce": secrets.token_hex(16),
            }
            try:
                ended = _run(marshal.dumps(job), timeout=self.seconds + GRACE)
            except subprocess.TimeoutExpired:
                return {"late": True, "status": None, "finished": False, "output": "", "took": self.seconds + GRACE}
        return dict(marshal.loads(ended)) if ended else {"error": "the sandbox did not answer"}


def _run(job: bytes, timeout: float) -> bytes:
    """Start contained.py in a session of its own, without our environment; what it prints."""
    command = [sys.executable, "-I", "-S", "-X", "utf8", str(SCRIPT)]
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env={}, start_new_session=True
    ) as process:
        try:
            return process.communicate(job, timeout=timeout)[0]
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise


@contextmanager
def _directory() -> Iterator[str]:
    """An empty directory, gone afterwards whatever is in it."""
    path = mkdtemp(prefix="sandbox-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def readable() -> list[str]:
    """The directories that hold Python: its library, and the installed packages; none inside of another."""
    paths = {os.path.realpath(path) for path in (sysconfig.get_path("stdlib"), sys.base_prefix, *packages())}
    return [path for path in sorted(paths) if not any(path.startswith(f"{other}/") for other in paths)]


def packages() -> list[str]:
    """Where packages are installed."""
    return [os.path.realpath(sysconfig.get_path("purelib"))]


def _reason(told: dict[str, Any], passed: bool) -> str:
    if passed:
        return "passed"
    if told["late"]:
        return "timed out"
    if told["status"] is not None and told["status"] < 0:
        return f"killed by {signal.Signals(-told['status']).name}"
    lines = told["output"].strip().splitlines()
    return f"failed: {lines[-1][:200]}" if lines else f"failed: exit code {told['status']} before its end"
