"""How a run stands: status.json in its directory, the one word that all processes and sweeps go by."""

from __future__ import annotations

import json
import logging
import math
from dataclasses import asdict, dataclass, replace
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, Literal, get_args

from mftcoder.system.files import write_text

FILE = "status.json"
State = Literal["running", "completed", "failed", "preempted"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Status:
    """What became of a run.

    Args:
        state: running also where the process was killed.
        step: the last optimizer step that was noted.
        metric: what the verb returned.
        reason: why the run failed or stopped.
        rank: the process that failed first.
    """

    state: State
    step: int | None = None
    metric: float | None = None
    reason: str | None = None
    rank: int | None = None


def read(run_dir: Path) -> Status | None:
    """The status of a run; None where there is none, or where it is damaged, which is warned of."""
    try:
        status = Status(**json.loads((run_dir / FILE).read_text(encoding="utf-8")))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, TypeError, RecursionError) as error:
        log.warning("%s: is no status of a run, and left out: %s", run_dir / FILE, error)
        return None
    if status.state not in get_args(State) or not isinstance(status.metric, float | int | None):
        log.warning("%s: is no status of a run, and left out: %r", run_dir / FILE, status)
        return None
    return status


def update(run_dir: Path, **changes: Any) -> None:
    """Change some of the status, in one move, so that no reader sees half of it."""
    status = replace(read(run_dir) or Status(state="running"), **changes)
    if status.metric is not None and not math.isfinite(status.metric):
        status = replace(status, metric=None)  # JSON has no number for it.
    text = json.dumps(asdict(status), indent=1, allow_nan=False) + "\n"
    try:
        write_text(run_dir / FILE, text)
    except OSError as error:
        if error.errno not in (ENOSPC, EDQUOT):
            raise
        _write_in_place(run_dir / FILE, text)


def _write_in_place(path: Path, text: str) -> None:
    """On a full disk a file keeps the blocks that it has; a status that is true is worth more than one in one move."""
    with path.open("r+", encoding="utf-8") as file:
        file.write(text)
        file.truncate()


def fail(run_dir: Path, *, reason: str, rank: int) -> None:
    """Note a failure; the first stays, for it is the cause of the others."""
    status = read(run_dir)
    if status is None or status.state != "failed":
        update(run_dir, state="failed", reason=reason, rank=rank)
