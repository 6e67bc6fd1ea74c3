"""The page of a sweep: its choices against the first of them, all jobs in one table, and their curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from statistics import mean, stdev

from mftcoder.report.chart import Series, line_chart
from mftcoder.report.comparison import MEAN, Comparison, Row, compare, plus_minus
from mftcoder.report.differences import difference_chart
from mftcoder.report.document import document, facts, fold, table
from mftcoder.report.parallel import Axis, parallel
from mftcoder.report.record import Record
from mftcoder.report.repeats import SEED, headings, repeats

REASON = 80  # most characters of why a job failed; its own page has all
RULE = (
    "Losses are the lowest of each run; differences are paired by seed, on the same held-out samples, ± their standard "
    "deviation. * marks those that a t-test at 95 %, corrected for the number of choices (Holm), does not put down to "
    "chance. Everything else is no difference that these runs could show."
)


def sweep_page(path: Path, jobs: Sequence[Record]) -> str:
    """The whole page as HTML; each job's name leads to the report beside it."""
    comparison = compare(jobs)
    ranked = _ranked(jobs, comparison)
    varied = [key for key in _keys(ranked) if len({job.overrides.get(key) for job in ranked}) > 1]
    tasks = list(dict.fromkeys(task for job in ranked for task in job.tasks))
    body = [
        facts(_about(path, jobs, comparison)),
        _compared(comparison) if comparison is not None else "",
        f'<div class="charts">{curves(comparison, ranked)}</div>',
        "<h2>Jobs, the best first</h2>",
        _jobs(ranked, varied, tasks),
        _seeds(ranked, tasks),
        _parallel(ranked, [key for key in varied if key != SEED], tasks, comparison),
    ]
    return document(f"{path.parent.name} / {path.name}", "".join(body))


def curves(comparison: Comparison | None, jobs: Sequence[Record]) -> str:
    """The chart of the mean validation loss: of each choice over its seeds with their deviation, or of each job."""
    if comparison is None:
        series = [Series(job.path.name, job.series("valid/loss"), i) for i, job in enumerate(jobs)]
    else:
        series = [_over_seeds(row, place) for place, row in enumerate(comparison.rows)]
    return line_chart("Validation loss, mean of the tasks", series)


def _ranked(jobs: Sequence[Record], comparison: Comparison | None) -> list[Record]:
    """The jobs in the order of their choices, which is that of all tables; those without a result last."""
    groups = [] if comparison is None else [row.jobs for row in comparison.rows]
    place = {job.path: index for index, group in enumerate(groups) for job in group}
    return sorted(jobs, key=lambda job: (_metric(job) is None, place.get(job.path, 0), _metric(job) or 0.0))


def _about(path: Path, jobs: Sequence[Record], comparison: Comparison | None) -> dict[str, str | None]:
    """What all jobs have in common."""
    states = [job.status.state if job.status else "unknown" for job in jobs]
    told = ", ".join(f"{states.count(state)} {state}" for state in dict.fromkeys(states))
    some = jobs[0]
    return {
        "jobs": told,
        "compared with": None if comparison is None else comparison.first,
        "model": some.model,
        "data": some.data,
        "date": some.date,
        "git": some.git,
        "command": some.command,
    }


def _compared(comparison: Comparison) -> str:
    """The table and the chart of the differences."""
    rows = [[row.name, *(_cell(row, column) for column in comparison.columns)] for row in comparison.rows]
    several = comparison.seeds > 1
    title = f"Against {comparison.first}" + (f", over {comparison.seeds} seeds" if several else "")
    note = RULE if several else "One run each: no spread is known, so no difference is evidence; add seed=1,2,3."
    return (
        f"<h2>{escape(title)}</h2>"
        + table(["choice", *comparison.columns], rows, lines=True)
        + f"<p>{escape(note)}</p>"
        + difference_chart(comparison)
    )


def _cell(row: Row, column: str) -> str:
    """The losses of the first choice; of the others their losses, and below them the difference."""
    cell = row.differences[column]
    if cell.verdict == "first" or not cell.values:
        return row.spread(column)
    told = "identical to the bit" if cell.verdict == "identical to the bit" else plus_minus(cell.values, signed=True)
    words = {"lower": " *", "higher": " *", "no difference": "\nno difference"}.get(cell.verdict, "")
    return f"{row.spread(column)}\n{told}{words}"


def _over_seeds(row: Row, colour: int) -> Series:
    """The mean curve of a choice over the steps that all of its jobs have, with the deviation between seeds."""
    courses = [dict(job.series("valid/loss")) for job in row.jobs]
    steps = sorted(set.intersection(*map(set, courses)))
    values = {step: [course[step] for course in courses] for step in steps}
    points = [(step, mean(own)) for step, own in values.items()]
    band = [(s, mean(v) - stdev(v), mean(v) + stdev(v)) for s, v in values.items()] if len(courses) > 1 else []
    return Series(row.name, points, colour, band=band)


def _jobs(jobs: Sequence[Record], varied: Sequence[str], tasks: Sequence[str]) -> str:
    """Every job; what is the same in all has no column."""
    completed = all(job.status is not None and job.status.state == "completed" for job in jobs)
    states = [] if completed else ["state"]
    return table(["job", *varied, *states, MEAN, *tasks], [_row(job, varied, tasks, states) for job in jobs], raw=1)


def _row(job: Record, varied: Sequence[str], tasks: Sequence[str], states: Sequence[str]) -> list[str]:
    link = f'<a href="{escape(job.path.name)}/report.html">{escape(job.path.name)}</a>'
    results = [_metric(job)] + [_best(job, task) for task in tasks]
    numbers = ["" if value is None else f"{value:.4f}" for value in results]
    return [link, *(job.overrides.get(key, "") for key in varied), *[_state(job)][: len(states)], *numbers]


def _state(job: Record) -> str:
    if job.status is None:
        return "unknown"
    return job.status.state + (f": {job.status.reason.splitlines()[0][:REASON]}" if job.status.reason else "")


def _seeds(jobs: Sequence[Record], tasks: Sequence[str]) -> str:
    """When each choice was at its best and how it ended, where there are several seeds."""
    groups = repeats(jobs)
    if all(len(group.jobs) == 1 for group in groups):
        return ""
    rows = [[*group.settings.values(), str(len(group.jobs)), *group.row(tasks)] for group in groups]
    return fold("Over the seeds: best and last", table([*groups[0].settings, "jobs", *headings(tasks)], rows))


def _parallel(
    jobs: Sequence[Record], varied: Sequence[str], tasks: Sequence[str], comparison: Comparison | None
) -> str:
    """All jobs over all settings and results, where there is more than one setting to see."""
    done = [job for job in jobs if _metric(job) is not None]
    settings = [Axis(key, [_number(job.overrides.get(key)) for job in done]) for key in varied]
    losses = [Axis(task, [_best(job, task) for job in done]) for task in tasks]
    results = [*losses, Axis(MEAN, [_metric(job) for job in done])]
    rows = [] if comparison is None else comparison.rows
    place = {job.path: index for index, row in enumerate(rows) for job in row.jobs}
    colours = [place.get(job.path, index) for index, job in enumerate(done)]
    return parallel(
        [*settings, *results], [f"{job.path.name}: {_typed(job.overrides, varied)}" for job in done], colours
    )


def _keys(jobs: Sequence[Record]) -> list[str]:
    return list(dict.fromkeys(key for job in jobs for key in job.overrides))


def _typed(overrides: Mapping[str, str], varied: Sequence[str]) -> str:
    return " ".join(f"{key}={overrides[key]}" for key in varied if key in overrides)


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
