"""Worker processes through torch's elastic agent: started by command, logged by rank, stopped with patience."""

from __future__ import annotations

import dataclasses
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed.elastic.multiprocessing import LogsDest, LogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch
from typing_extensions import override

from mftcoder.system.signals import LAUNCHED, handling

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
PATIENCE = 600  # seconds that workers have to save and stop after they were asked to; then they are killed


@dataclasses.dataclass(frozen=True)
class Ending:
    """How the workers of this machine ended.

    asked: whether they were asked to stop. rank, how: which failed first, and with what exit code or signal. killed:
    that signal was the kernel's or somebody's, not that of the agent, which ends the others.
    """

    asked: bool = False
    rank: int | None = None
    how: str | None = None
    killed: bool = False

    @property
    def reason(self) -> str:
        """What is noted of it."""
        return f"ended with {self.how}{': out of memory?' if self.how == 'SIGKILL' else ''}"


def run_workers(
    run_dir: Path,
    *,
    num_processes: int,
    num_nodes: int,
    rendezvous: str | None,
    serves: bool,
    environment: Mapping[str, str],
) -> Ending:
    """Run `python -m mftcoder.launch.worker RUN_DIR` num_processes times on this machine, until all have ended.

    rendezvous: host:port where the agents of num_nodes machines meet; serves: whether it is here. environment:
    variables that only the workers get. A signal to stop is passed on, a second one ends the workers at once.
    """
    launch = _supported(
        min_nodes=num_nodes,
        max_nodes=num_nodes,
        nproc_per_node=num_processes,
        run_id=run_dir.name,
        role="",  # The console then shows rank 0's lines as they are.
        log_line_prefix_template="${role_name}",
        rdzv_backend="c10d",
        rdzv_endpoint=rendezvous or "localhost:0",
        rdzv_configs={"is_host": serves} if rendezvous else {},
        max_restarts=0,
        logs_specs=RankLogs(str(run_dir / "ranks")),
        signals_to_handle="SIGQUIT",  # We handle the others ourselves, and pass them on as one.
        shutdown_timeout=PATIENCE,
    )
    with ExitStack() as stack:
        stack.enter_context(_variables({LAUNCHED: "1", **environment}))
        stack.enter_context(_quiet("torch.distributed.elastic"))
        stack.enter_context(_stop_signals())
        try:
            elastic_launch(launch, sys.executable)("-u", "-m", "mftcoder.launch.worker", str(run_dir))
        except ChildFailedError as error:
            return _cause(error)
        except SignalException:
            return Ending(asked=True)
    return Ending()


def _cause(error: ChildFailedError) -> Ending:
    """The rank that failed first; but one that a signal ended goes before those that only missed it."""
    killed = (signal.SIGKILL, signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGILL, signal.SIGFPE)
    failures = sorted(error.failures.items(), key=lambda item: (-item[1].exitcode not in killed, item[1].timestamp))
    rank, failure = failures[0]
    how = failure.signal_name() if failure.exitcode < 0 else f"exit code {failure.exitcode}"
    return Ending(rank=rank, how=how, killed=-failure.exitcode in killed)


class RankLogs(LogsSpecs):
    """Logs in <root>/<rank>/stdout.log and stderr.log, older ones numbered; those of rank 0 also on the console."""

    @property
    @override
    def root_log_dir(self) -> str:
        return str(self._root_log_dir)

    @override
    def reify(self, envs: dict[int, dict[str, str]]) -> LogsDest:
        folders = {local_rank: Path(self.root_log_dir) / env["RANK"] for local_rank, env in envs.items()}
        out = {local_rank: _fresh(folder, "stdout.log") for local_rank, folder in folders.items()}
        err = {local_rank: _fresh(folder, "stderr.log") for local_rank, folder in folders.items()}
        errors = {local_rank: str(folder / "error.json") for local_rank, folder in folders.items()}
        shown = [local_rank for local_rank, env in envs.items() if env["RANK"] == "0"]
        return LogsDest(
            out,
            err,
            {local_rank: out[local_rank] for local_rank in shown},
            {local_rank: err[local_rank] for local_rank in shown},
            errors,
            os.devnull,
            os.devnull,
        )


def _fresh(folder: Path, name: str) -> str:
    """The path of a log that does not exist yet; one of an earlier start is renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    if path.exists():
        path.rename(next(p for n in count(1) if not (p := path.with_suffix(f".{n}.log")).exists()))
    return str(path)


def _supported(**settings: Any) -> LaunchConfig:
    """LaunchConfig grows and shrinks with torch's releases: give it what it knows."""
    known = {field.name for field in dataclasses.fields(LaunchConfig)}
    return LaunchConfig(**{name: value for name, value in settings.items() if name in known})


@contextmanager
def _stop_signals() -> Iterator[None]:
    """Within it, any signal to stop makes the agent pass SIGUSR1 on and wait; a second one ends the workers at once."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise SignalException(f"got {signal.Signals(number).name}", sigval=signal.SIGUSR1)

    quit_handler = signal.getsignal(signal.SIGQUIT)  # The agent takes this one, and does not give it back.
    with handling(stop, STOP_SIGNALS):
        try:
            yield
        finally:
            if threading.current_thread() is threading.main_thread():
                signal.signal(signal.SIGQUIT, quit_handler)


@contextmanager
def _variables(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def _quiet(prefix: str) -> Iterator[None]:
    """Keep a library's loggers silent: what they say about ended workers, the launcher says better."""
    loggers = [logging.getLogger(name) for name in logging.root.manager.loggerDict if name.startswith(prefix)]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for logger, level in zip(loggers, before, strict=True):
            logger.setLevel(level)
