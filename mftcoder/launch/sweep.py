"""The table of all jobs at the end of a sweep."""

from __future__ import annotations

import atexit
import math
from pathlib import Path
from typing import Any

import yaml
from hydra.experimental.callback import Callback
from omegaconf import DictConfig
from rich.box import HEAVY_HEAD
from typing_extensions import override

from mftcoder.core.terminal import table, terminal
from mftcoder.report.draw import draw
from mftcoder.report.record import METRICS
from mftcoder.storage import status


class Summary(Callback):
    """Prints the table when the process ends, however the sweep went: Hydra has no word for a sweep that failed."""

    @override
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        atexit.register(show, Path(config.hydra.sweep.dir))


def show(sweep_dir: Path) -> None:
    """Print the jobs in a sweep's directory by what differs between them, the best marked, and draw their report."""
    jobs = sorted((file.parent for file in sweep_dir.glob(f"*/{status.FILE}")), key=_place)
    found = [(job, word) for job in jobs if (word := status.read(job)) is not None]
    done = [word.metric for _, word in found if word.state == "completed" and word.metric is not None]
    lowest = min((metric for metric in done if math.isfinite(metric)), default=None)
    overrides = {job: _overrides(job) for job, _ in found}
    shared = set.intersection(*map(set, overrides.values())) if len(found) > 1 else set()
    shown = table("job", "overrides", "state", "metric", texts=(0, 1, 2), box=HEAVY_HEAD, title=str(sweep_dir))
    for job, word in found:
        best = lowest is not None and word.metric == lowest
        metric = "" if word.metric is None else f"{word.metric:.6g}{' *' if best else ''}"
        state = word.state if word.reason is None else f"{word.state}: {word.reason}"
        differing = " ".join(override for override in overrides[job] if override not in shared)
        shown.add_row(job.name, differing, state, metric, style="bold" if best else None)
    if found:
        terminal().print(shown)
    if any(sweep_dir.glob(f"*/{METRICS}")):
        print(f"compared in {draw(sweep_dir)}")


def _place(job: Path) -> tuple[float, str]:
    """By the number that its name begins with; names that someone chose for them (hydra.sweep.subdir) come last."""
    number = job.name.partition("-")[0]
    return (int(number) if number.isdecimal() else math.inf), job.name


def _overrides(job: Path) -> list[str]:
    file = job / ".hydra" / "overrides.yaml"
    return list(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.exists() else []
