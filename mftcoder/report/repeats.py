"""Jobs of a sweep that differ in their seed alone, taken together: what a setting does, and what is luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev
from typing import NamedTuple

from mftcoder.report.record import Record

SEED = "seed"


@dataclass(frozen=True)
class Repeats:
    """Jobs of the same settings.

    Args:
        settings: those that vary within the sweep, by key.
        jobs: one of each seed.
    """

    settings: dict[str, str]
    jobs: list[Record]

    def named(self) -> dict[str, str]:
        """The settings, with words for what nobody typed."""
        return {key: value or "(as it was)" for key, value in self.settings.items()}

    def row(self, tasks: Sequence[str]) -> list[str]:
        """Best and final loss of each task, means of them over the tasks, and when the tasks were at their best.

        A task that no job has validated has an empty cell and no part in the means.
        """
        courses = [_courses(job) for job in self.jobs]
        steps = [[course.step for course in job.values()] for job in courses]
        return [
            *(_cell([job[task] for job in courses if task in job]) for task in tasks),
            spread([mean(course.best for course in job.values()) for job in courses]),
            spread([mean(course.final for course in job.values()) for job in courses]),
            f"{mean(map(mean, steps)):.0f}",
            f"{mean(max(job) - min(job) for job in steps):.0f}",
        ]


class _Course(NamedTuple):
    """Of one loss: the step at which it was lowest, what it was then, and what it was at last."""

    step: float
    best: float
    final: float


def headings(tasks: Sequence[str]) -> list[str]:
    """What the cells of a row are."""
    return [
        *(f"{task}, best / final" for task in tasks),
        "mean, best",
        "mean, final",
        "best step, mean of tasks",
        "from first to last",
    ]


def repeats(jobs: Sequence[Record]) -> list[Repeats]:
    """The validated jobs with the same settings but for the seed, the lowest mean of best losses first."""
    jobs = [job for job in jobs if job.series("valid/loss")]
    keys = list(dict.fromkeys(key for job in jobs for key in job.overrides if key != SEED))
    varied = [key for key in keys if len({job.overrides.get(key) for job in jobs}) > 1]
    groups: dict[tuple[str, ...], list[Record]] = {}
    for job in jobs:
        groups.setdefault(tuple(job.overrides.get(key, "") for key in varied), []).append(job)
    found = [Repeats(dict(zip(varied, values, strict=True)), own) for values, own in groups.items()]
    return sorted(found, key=lambda own: mean(lowest(job) for job in own.jobs))


def spread(values: Sequence[float]) -> str:
    """Their mean and, of several, their standard deviation."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def lowest(job: Record) -> float:
    """The mean over the tasks of their lowest validation losses."""
    return mean(course.best for course in _courses(job).values())


def _courses(job: Record) -> dict[str, _Course]:
    """The validation loss of each task that has one: a task without held-out samples has none."""
    names = {task: f"valid/loss/{task}" for task in job.tasks}
    return {
        task: _Course(*job.best(name), series[-1][1]) for task, name in names.items() if (series := job.series(name))
    }


def _cell(courses: Sequence[_Course]) -> str:
    if not courses:
        return ""
    return f"{mean(course.best for course in courses):.3f} / {mean(course.final for course in courses):.3f}"
