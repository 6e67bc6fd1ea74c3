"""How a run stands: status.json in its directory, the one word that all processes and sweeps go by."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from mftcoder.core.files import write_text

FILE = "status.json"


@dataclass(frozen=True, kw_only=True)
class Status:
    """What became of a run.

    step: the last optimizer step that was noted. metric: what the verb returned. reason: why the run failed or
    stopped. rank: the process that failed first.
    """

    state: Literal["running", "completed", "failed", "preempted"]
    step: int | None = None
    metric: float | None = None
    reason: str | None = None
    rank: int | None = None


def read(run_dir: Path) -> Status | None:
    """The status of a run, None where there is no run."""
    try:
        return Status(**json.loads((run_dir / FILE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


def update(run_dir: Path, **changes: Any) -> None:
    """Change some of the status, in one move, so that no reader sees half of it."""
    status = replace(read(run_dir) or Status(state="running"), **changes)
    if status.metric is not None and not math.isfinite(status.metric):
        status = replace(status, metric=None)  # JSON has no number for it.
    write_text(run_dir / FILE, json.dumps(asdict(status), indent=1, allow_nan=False) + "\n")


def fail(run_dir: Path, *, reason: str, rank: int) -> None:
    """Note a failure; the first stays, for it is the cause of the others."""
    status = read(run_dir)
    if status is None or status.state != "failed":
        update(run_dir, state="failed", reason=reason, rank=rank)
