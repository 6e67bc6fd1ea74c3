"""The scores as a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from mftcoder.evaluation.gate import Checked
from mftcoder.evaluation.scores import Scored
from mftcoder.metric.base import Metric
from mftcoder.statistics.intervals import Interval
from mftcoder.system.terminal import table

if TYPE_CHECKING:
    from rich.table import Table


def score_table(rows: Sequence[Scored], names: Sequence[str], title: str) -> Table:
    """A line for each task and metric: value, 95 % interval, and the verdict where two models are compared.

    Args:
        rows: the scores.
        names: of the model, and of the other where there is one.
        title: above the table.
    """
    compared = len(names) > 1
    roles = "".join(f"; {role}: {name}" for role, name in zip(("model", "against"), names, strict=False))
    first, last = (["against"], ["verdict"]) if compared else ([], [])
    headings = ["task", "metric", "samples", *first, "model", "95 %", *last]
    shown = table(*headings, texts=(0, 1, len(headings) - 1) if compared else (0, 1), title=title + roles)
    for row in rows:
        before = [number(row.metric, row.before)] if row.before else [""] * compared
        said = [row.verdict.words if row.verdict else ""] if compared else []
        shown.add_row(
            row.task,
            row.name,
            f"{row.value.samples:,}",
            *before,
            number(row.metric, row.value),
            between(row.metric, row.value),
            *said,
        )
    return shown


def gate_table(demands: Sequence[Checked]) -> Table:
    """A line for each demand of a gate; changes are positive where the model is better."""
    shown = table("task", "metric", "allowed", "measured", "at best", "gate", texts=(0, 1, 5), title="gate")
    for demand in demands:
        numbers = [f"{value:+.4f}" for value in (demand.allowed, demand.change, demand.at_best)]
        shown.add_row(demand.task, demand.name, *numbers, "passed" if demand.passed else "failed")
    return shown


def number(metric: Metric, found: Interval) -> str:
    """An estimate in the metric's own scale."""
    return f"{found.estimate * metric.scale:.{digits(metric)}f}"


def between(metric: Metric, found: Interval) -> str:
    """The bounds of an interval, nothing where there are none."""
    low, high = (bound * metric.scale for bound in (found.low, found.high))
    return f"{low:.{digits(metric)}f} to {high:.{digits(metric)}f}" if math.isfinite(low) else ""


def digits(metric: Metric) -> int:
    """After the point: one of points, four of anything else."""
    return 1 if metric.scale == 100 else 4
