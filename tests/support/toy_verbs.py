"""A verb and an engine for the tests of the launcher; quick to import, since it needs no torch unless asked."""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from mftcoder.core.errors import Preempted, UserError
from mftcoder.storage import status
from mftcoder.system.signals import StopRequest

SEEN: list[int] = []  # What a job leaves behind in its process.


class Processes:
    """What the launcher reads of an engine."""

    def __init__(self, *, num_processes: int | None, num_nodes: int, rendezvous: str | None) -> None:
        pass


def toy(
    *,
    name: str,
    value: float,
    action: Literal[
        "return", "nothing", "raise", "refuse", "load", "wait", "wait_once", "ignore", "sum", "kill", "abort", "miss"
    ],
    rank: int,
    service: dict[str, str],
    engine: Processes | None,
    run_dir: Path,
    config: Mapping[str, Any],
) -> float | None:
    """Note what this process is, then do what `action` says, on one rank alone where only that one can."""
    here = int(os.environ.get("RANK", "0"))
    SEEN.append(here)
    facts = {
        "pid": os.getpid(),
        "seen": SEEN,
        "hydra": "hydra" in sys.modules,
        "world": os.environ.get("WORLD_SIZE"),
        "key": service.get("api_key"),
        "config_key": config["service"].get("api_key"),
        "processes": (config["engine"] or {}).get("num_processes"),
    }
    (run_dir / f"facts{here}.json").write_text(json.dumps(facts))
    if here == 0:
        (run_dir / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2.5}\n')
    print(f"toy {name} on rank {here}")
    if action == "sum":
        return _sum(value)
    if action == "nothing":
        return None
    if action == "load":
        (run_dir / f"ready{here}").touch()
        time.sleep(60)
    if action == "wait" or (action == "wait_once" and not (run_dir / f"ready{here}").exists()):
        _wait(run_dir, here)
    if action == "ignore":
        with StopRequest():
            (run_dir / f"ready{here}").touch()
            time.sleep(60)
    if action == "miss" and here != rank:
        _miss(run_dir, rank)
    if action in ("raise", "kill", "abort", "miss") and "RANK" in os.environ:
        _alone(run_dir, here, rank)
    if action in ("kill", "miss"):
        os.kill(os.getpid(), signal.SIGKILL)
    if action == "abort":
        os._exit(3)
    if action == "raise":
        raise RuntimeError(f"boom on rank {here}")
    if action == "refuse":
        raise UserError("data: no such file; give another")
    return value


def _alone(run_dir: Path, here: int, rank: int) -> None:
    """Let `rank` go on once the other is there, which is deaf to polite requests."""
    while here == rank and not (run_dir / f"facts{1 - rank}.json").exists():
        time.sleep(0.05)
    if here != rank:
        with StopRequest():
            time.sleep(60)


def _miss(run_dir: Path, other: int) -> None:
    """Fail as collectives do as soon as the other process is gone."""
    while not (facts := run_dir / f"facts{other}.json").exists():
        time.sleep(0.01)
    pid = json.loads(facts.read_text())["pid"]
    while Path(f"/proc/{pid}/stat").exists() and ") Z" not in Path(f"/proc/{pid}/stat").read_text():
        time.sleep(0.001)
    raise RuntimeError("connection reset by peer")


def _wait(run_dir: Path, here: int) -> None:
    with StopRequest() as stop:
        (run_dir / f"ready{here}").touch()
        for _ in range(600):
            time.sleep(0.1)
            if stop.requested:
                if here == 0:  # As runs do: of two that change a status at once, one is lost.
                    status.update(run_dir, step=7)
                (run_dir / "checkpoints").mkdir(exist_ok=True)
                (run_dir / "checkpoints" / "latest").write_text("step_000007")
                raise Preempted("stopped after step 7")
    raise AssertionError("nobody asked")


def _sum(value: float) -> float:
    import torch
    import torch.distributed as dist

    dist.init_process_group("gloo")
    total = torch.tensor(value * (1 + dist.get_rank()), dtype=torch.float64)
    dist.all_reduce(total)
    return float(total)
