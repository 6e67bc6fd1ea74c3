"""The page of a sweep: a table of its jobs, all of them in parallel coordinates, and their curves in one chart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from pathlib import Path

from mftcoder.report.chart import Series, line_chart
from mftcoder.report.document import document, table
from mftcoder.report.parallel import Axis, parallel
from mftcoder.report.record import Record
from mftcoder.report.repeats import headings, repeats

REASON = 80  # most characters of why a job failed; its own page has all


def sweep_page(path: Path, jobs: Sequence[Record]) -> str:
    """The whole page as HTML; each job's name leads to the report beside it."""
    ranked = sorted(jobs, key=lambda job: (_metric(job) is None, _metric(job) or 0.0))
    varied = [key for key in _keys(ranked) if len({job.overrides.get(key) for job in ranked}) > 1]
    tasks = list(dict.fromkeys(task for job in ranked for task in job.tasks))
    settings = [Axis(key, [_number(job.overrides.get(key)) for job in ranked]) for key in varied]
    losses = [Axis(task, [_best(job, task) for job in ranked]) for task in tasks]
    results = [*losses, Axis("mean", [_metric(job) for job in ranked])]
    done = [i for i, job in enumerate(ranked) if _metric(job) is not None]
    shown = [Axis(axis.name, [axis.values[i] for i in done]) for axis in (*settings, *results)]
    curves = [Series(job.path.name, job.series("valid/loss"), i) for i, job in enumerate(ranked)]
    body = [
        "<h2>Jobs, the best first</h2>",
        table(["job", *varied, "state", *tasks, "mean"], [_row(job, varied, tasks) for job in ranked], raw=1),
        _seeds(ranked, tasks),
        parallel(shown, [f"{ranked[i].path.name}: {_typed(ranked[i], varied)}" for i in done]),
        f'<div class="charts">{line_chart("mean validation loss of each job", curves)}</div>',
    ]
    return document(f"{path.parent.name} / {path.name}", "".join(body))


def _seeds(jobs: Sequence[Record], tasks: Sequence[str]) -> str:
    """What is left of the differences between jobs once those that differ in their seed are taken together."""
    groups = repeats(jobs)
    if all(len(group.jobs) == 1 for group in groups):
        return ""
    rows = [[*group.settings.values(), str(len(group.jobs)), *group.row(tasks)] for group in groups]
    return "<h2>Over the seeds</h2>" + table([*groups[0].settings, "jobs", *headings(tasks)], rows)


def _row(job: Record, varied: Sequence[str], tasks: Sequence[str]) -> list[str]:
    link = f'<a href="{escape(job.path.name)}/report.html">{escape(job.path.name)}</a>'
    state = "unknown" if job.status is None else job.status.state
    reason = "" if job.status is None or not job.status.reason else f": {job.status.reason.splitlines()[0][:REASON]}"
    results = [_best(job, task) for task in tasks] + [_metric(job)]
    numbers = ["" if value is None else f"{value:.4f}" for value in results]
    return [link, *(job.overrides.get(key, "") for key in varied), state + reason, *numbers]


def _keys(jobs: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(key for job in jobs for key in job.overrides))


def _typed(job: Record, varied: Sequence[str]) -> str:
    return " ".join(f"{key}={job.overrides[key]}" for key in varied if key in job.overrides)


def _metric(job: Record) -> float | None:
    """The metric of a job, where it has one that can be drawn."""
    metric = None if job.status is None else job.status.metric
    return metric if metric is not None and math.isfinite(metric) else None


def _best(job: Record, task: str) -> float | None:
    return job.best(f"valid/loss/{task}")[1] if job.series(f"valid/loss/{task}") else None


def _number(text: str | None) -> float | str | None:
    """A typed value as a number, where it is one."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        return text
    return value if math.isfinite(value) else text
