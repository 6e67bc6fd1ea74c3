"""Decides where a run happens: in this process, in worker processes, or in those that another launcher started."""

from __future__ import annotations

import json
import os
import re
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import OmegaConf

from mftcoder.cli import config, next_steps, secrets
from mftcoder.cli.schema import settings
from mftcoder.core.errors import ConfigError, Preempted, Refused, UserError, WorkerError
from mftcoder.launch import world
from mftcoder.launch.worker import work
from mftcoder.launch.world import Meeting, World
from mftcoder.storage import resumption, run_directory, status
from mftcoder.system.run_files import LATEST, newest_run
from mftcoder.system.streams import make_streams_last
from mftcoder.system.terminal import SWEEP, log_plainly

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mftcoder.launch.elastic import Ending

run_directory.register_resolvers()  # Launchers such as joblib's import `task` in processes that have not seen our main.

TRAIN = "mftcoder.verbs.train.train"
REQUEUED = 60  # seconds that a run which resumes waits for another that is ending in its directory
SHOWN_LINES = 40  # of the log of a rank that is not on the console


@dataclass(frozen=True)
class Shape:
    """How many processes a run needs, and where the machines meet."""

    num_processes: int
    num_nodes: int
    rendezvous: str | None


@dataclass(frozen=True)
class Job:
    """One run as it was asked for.

    Args:
        tree: the checked configuration.
        shape: its processes.
        run_dir: its directory.
        overrides: the words of the command line.
        sweep: whether it is one of a sweep, which are in processes of their own and may have been completed before.
    """

    tree: dict[str, Any]
    shape: Shape
    run_dir: Path
    overrides: list[str]
    sweep: bool

    @property
    def patience(self) -> float:
        """Seconds that it waits for another process in its directory: a requeued job for its dying predecessor."""
        return REQUEUED if self.tree.get("resume") in ("auto", "latest") else 0


def task(cfg: DictConfig, meeting: Meeting | None = None) -> float | None:
    """What Hydra calls for each run: check the config and run it; the metric of the run.

    meeting: of the processes that another launcher started, of which this is the first.
    """
    make_streams_last()
    log_plainly()
    hydra = HydraConfig.get()
    run_dir, sweep = Path(hydra.runtime.output_dir), hydra.mode is RunMode.MULTIRUN
    try:
        if sweep and meeting is not None:
            raise ConfigError(
                [f"hydra.mode: {RunMode.MULTIRUN.name} starts its own processes; start it with python alone"]
            )
        tree = config.check(cfg)
        shape = fit(tree, world.find(os.environ))
    except ConfigError as error:
        if sweep:
            _note_refusal(run_dir, cfg, list(hydra.overrides.task), error)
            raise
        run_directory.discard(run_dir)
        raise Refused(error) from error
    try:
        if _is_quiet(tree) and not sweep and meeting is None:
            return _run_quietly(tree, run_dir)
        metric = _launch(Job(tree, shape, run_dir, list(hydra.overrides.task), sweep), meeting)
        if not sweep and tree["_target_"] == TRAIN:
            print(next_steps.after_training(run_dir))
        return metric
    except Preempted as stop:
        if not sweep and meeting is None and tree["_target_"] == TRAIN and newest_run(run_dir, having=LATEST):
            stop.message = f"{stop.message}\n{next_steps.after_stop(run_dir)}"
        raise
    except (UserError, WorkerError) as error:
        if sweep:
            raise
        run_directory.discard(run_dir)
        raise Refused(error) from error


def fit(tree: dict[str, Any], others: World | None) -> Shape:
    """The number of processes that the engine of a checked config asks for; null means as many as there are.

    The tree gets the numbers instead of null. Raises ConfigError where `others`, the processes that were started, are
    not as many.
    """
    engine = tree.get("engine") or {}
    found = {"num_processes": others.local_size, "num_nodes": others.nodes} if others else {}
    numbers = {name: engine.get(name, 1) for name in ("num_processes", "num_nodes")}
    asked = {name: number or found.get(name) or _on_this_machine(name) for name, number in numbers.items()}
    engine |= {name: number for name, number in asked.items() if name in engine}
    if others and (wrong := [name for name in found if asked[name] != found[name]]):
        raise ConfigError(
            [f"engine.{name}: {asked[name]}, but {others.launcher} started {found[name]}" for name in wrong]
        )
    rendezvous = engine.get("rendezvous") or world.slurm_rendezvous(os.environ)
    if asked["num_nodes"] > 1 and not others and not re.fullmatch(r".+:\d+", rendezvous or ""):
        raise ConfigError([f"engine.rendezvous: {rendezvous!r} is not <host of one of the nodes>:<port>"])
    return Shape(**asked, rendezvous=rendezvous)


def _is_quiet(tree: dict[str, Any]) -> bool:
    """Whether a verb writes nothing of its own, so that it needs no directory."""
    return "run_dir" not in settings(config.verb(tree)[0])


def _run_quietly(tree: dict[str, Any], run_dir: Path) -> float | None:
    """Run a verb that leaves nothing behind, the directory that Hydra made for it included."""
    run_directory.discard(run_dir)
    if run_dir.parent.is_dir() and not any(run_dir.parent.iterdir()):
        run_dir.parent.rmdir()
    function, parts = config.verb(tree)
    return function(**parts)


def _on_this_machine(name: str) -> int:
    import torch

    return max(1, torch.cuda.device_count()) if name == "num_processes" else 1


def _note_refusal(run_dir: Path, cfg: DictConfig, overrides: list[str], error: ConfigError) -> None:
    """Leave word of a job of a sweep that cannot run, unless another process has its directory, or it was completed."""
    tree: Any = OmegaConf.to_container(cfg, resolve=False)
    hidden, names = secrets.values(tree), tree.get(secrets.EXTRA_NAMES) or ()
    with suppress(UserError), run_directory.owned(run_dir):
        if (before := status.read(run_dir)) is None or before.state != "completed":
            run_directory.note_overrides(run_dir, [secrets.masked_override(w, hidden, names) for w in overrides])
            status.update(run_dir, state="failed", reason=secrets.scrub(str(error), hidden), rank=0)


def _launch(job: Job, meeting: Meeting | None) -> float | None:
    if job.shape.num_nodes > 1 and meeting is None:
        return _on_nodes(job)
    with run_directory.owned(job.run_dir, patience=job.patience):
        before = status.read(job.run_dir)
        if job.sweep and before is not None and before.state == "completed":
            print(f"{job.run_dir} was completed before", file=sys.stderr)
            return before.metric
        sha256 = run_directory.begin(job.run_dir, job.tree, job.overrides)
        if meeting is not None:
            meeting.hand(run_dir=str(job.run_dir), tree=job.tree)
        elif job.sweep or job.shape.num_processes > 1:
            return _in_workers(job, job.run_dir, sha256)
        return work(job.tree, job.run_dir)


def _on_nodes(job: Job) -> float | None:
    """The same command was given on several machines: the one that the others meet at decides the directory."""
    host, _, port = str(job.shape.rendezvous).rpartition(":")
    meeting = Meeting.at(host, int(port), job.shape.num_nodes)
    if not meeting.serves:
        told = meeting.receive()
        if job.run_dir != (run_dir := Path(told["run_dir"])):
            run_directory.discard(job.run_dir)
        return _in_workers(job, run_dir, told["sha256"])
    try:
        with run_directory.owned(job.run_dir, patience=job.patience):
            sha256 = run_directory.begin(job.run_dir, job.tree, job.overrides)
            meeting.hand(run_dir=str(job.run_dir), sha256=sha256)
            return _in_workers(job, job.run_dir, sha256, serves=True)
    except UserError as error:
        if not meeting.handed:
            meeting.hand_error(error)
        raise


def _in_workers(job: Job, run_dir: Path, sha256: str, *, serves: bool = False) -> float | None:
    from mftcoder.launch.elastic import run_workers

    hidden = {"launcher": os.getpid(), "sha256": sha256, "hidden": secrets.find(job.tree)}
    environment = {secrets.ENVIRONMENT: json.dumps(hidden)}
    if job.sweep:
        environment[SWEEP] = "1"
    if job.shape.num_processes > 1:
        threads = max(1, (os.cpu_count() or 1) // job.shape.num_processes)
        environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
    ending = run_workers(run_dir, **vars(job.shape), serves=serves, environment=environment)
    return _outcome(run_dir, ending)


def _outcome(run_dir: Path, ending: Ending) -> float | None:
    """The metric of a run whose workers have ended; raises Preempted or WorkerError where there is none."""
    before = status.read(run_dir) or status.Status(state="running")
    said, step = before.state, resumption.saved(run_dir)
    if said == "running" and ending.asked:
        left = "before it could save anything" if step is None else f"at once; {step} is there"
        status.update(run_dir, state="preempted", reason=f"stopped {left}")
    elif said == "failed" and ending.killed and re.search(r"time[d ]? ?-?out", before.reason or "", re.IGNORECASE):
        # A peer that is dead resets its connections; this one was there, until the agent ended it.
        status.update(run_dir, rank=ending.rank, reason=f"did not answer; rank {before.rank}: {before.reason}")
    elif said == "running" or (said == "failed" and ending.killed):  # Others fail for want of the one that was killed.
        status.update(run_dir, state="failed", reason=ending.reason, rank=ending.rank or 0)
    word = status.read(run_dir)
    assert word is not None
    if word.state == "completed":
        return word.metric
    if word.state == "preempted":
        raise Preempted(str(word.reason), saved=step is not None)
    if word.rank:
        _show(run_dir / "ranks" / str(word.rank) / "stderr.log")
    raise WorkerError(f"{run_dir}: rank {word.rank} failed: {word.reason}")


def _show(log: Path) -> None:
    """The end of a log whose process is not on the console."""
    if log.exists():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LINES:]
        print(f"--- {log}", *lines, "---", sep="\n", file=sys.stderr)
