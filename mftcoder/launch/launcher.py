"""Decides where a run happens: in this process, in worker processes, or in those that another launcher started."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from mftcoder.cli import config, next_steps, secrets
from mftcoder.core.errors import ConfigError, Preempted, Refused, UserError, WorkerError
from mftcoder.core.run_files import LATEST, newest_run
from mftcoder.core.streams import make_streams_last
from mftcoder.core.terminal import log_plainly
from mftcoder.launch import world
from mftcoder.launch.worker import work
from mftcoder.launch.world import Meeting, World
from mftcoder.storage import run_directory, status

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from mftcoder.launch.elastic import Ending

run_directory.register_resolvers()  # Launchers such as joblib's import `task` in processes that have not seen our main.

TRAIN = "mftcoder.verbs.train.train"
SHOWN_LINES = 40  # of the log of a rank that is not on the console


@dataclass(frozen=True)
class Shape:
    """How many processes a run needs, and where the machines meet."""

    num_processes: int
    num_nodes: int
    rendezvous: str | None


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
            raise ConfigError(["hydra.mode: MULTIRUN starts its own processes; start it with python alone"])
        tree = config.check(cfg)
        shape = fit(tree, world.find(os.environ))
    except ConfigError as error:
        if sweep:
            status.fail(run_dir, reason=str(error), rank=0)
            raise
        run_directory.discard(run_dir)
        raise Refused(error) from error
    try:
        metric = _launch(tree, shape, run_dir, sweep, meeting)
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


def _on_this_machine(name: str) -> int:
    import torch

    return max(1, torch.cuda.device_count()) if name == "num_processes" else 1


def _launch(tree: dict[str, Any], shape: Shape, run_dir: Path, sweep: bool, meeting: Meeting | None) -> float | None:
    before = status.read(run_dir)
    if sweep and before is not None and before.state == "completed":
        print(f"{run_dir} was completed before", file=sys.stderr)
        return before.metric
    if shape.num_nodes > 1 and meeting is None:
        return _on_nodes(tree, shape, run_dir)
    run_directory.begin(run_dir, tree)
    if meeting is not None:
        meeting.hand(run_dir=str(run_dir), tree=tree)
    elif sweep or shape.num_processes > 1:
        return _in_workers(tree, shape, run_dir)
    return work(tree, run_dir)


def _on_nodes(tree: dict[str, Any], shape: Shape, run_dir: Path) -> float | None:
    """The same command was given on several machines: the one that the others meet at decides the directory."""
    host, _, port = str(shape.rendezvous).rpartition(":")
    meeting = Meeting.at(host, int(port), shape.num_nodes)
    if meeting.serves:
        run_directory.begin(run_dir, tree)
        meeting.hand(run_dir=str(run_dir))
    else:
        own, run_dir = run_dir, Path(meeting.receive()["run_dir"])
        if own != run_dir:
            run_directory.discard(own)
    return _in_workers(tree, shape, run_dir, serves=meeting.serves)


def _in_workers(tree: Mapping[str, Any], shape: Shape, run_dir: Path, *, serves: bool = False) -> float | None:
    from mftcoder.launch.elastic import run_workers

    environment = {secrets.ENVIRONMENT: json.dumps(list(secrets.find(tree)))}
    if shape.num_processes > 1:
        threads = max(1, (os.cpu_count() or 1) // shape.num_processes)
        environment["OMP_NUM_THREADS"] = os.environ.get("OMP_NUM_THREADS", str(threads))
    ending = run_workers(run_dir, **vars(shape), serves=serves, environment=environment)
    return _outcome(run_dir, ending)


def _outcome(run_dir: Path, ending: Ending) -> float | None:
    """The metric of a run whose workers have ended; raises Preempted or WorkerError where there is none."""
    said = (status.read(run_dir) or status.Status(state="running")).state
    if said == "running" and ending.asked:
        status.update(run_dir, state="preempted", reason="stopped before it could save anything")
    elif said == "running" or (said == "failed" and ending.killed):  # Others fail for want of the one that was killed.
        status.update(run_dir, state="failed", reason=ending.reason, rank=ending.rank or 0)
    word = status.read(run_dir)
    assert word is not None
    if word.state == "completed":
        return word.metric
    if word.state == "preempted":
        raise Preempted(str(word.reason))
    if word.rank:
        _show(run_dir / "ranks" / str(word.rank) / "stderr.log")
    raise WorkerError(f"{run_dir}: rank {word.rank} failed: {word.reason}")


def _show(log: Path) -> None:
    """The end of a log whose process is not on the console."""
    if log.exists():
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()[-SHOWN_LINES:]
        print(f"--- {log}", *lines, "---", sep="\n", file=sys.stderr)
