"""Jobs of a sweep that differ in their seed alone, taken together: what a setting does, and what is luck."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean, stdev

from mftcoder.page.record import Record

SEED = "seed"


@dataclass(frozen=True)
class Repeats:
    """Jobs of the same settings. settings: those that vary within the sweep, by key."""

    settings: dict[str, str]
    jobs: list[Record]

    def row(self, tasks: Sequence[str]) -> list[str]:
        """Best and final loss of each task, means of them over the tasks, and when the tasks were at their best."""
        best = [[job.best(f"valid/loss/{task}") for task in tasks] for job in self.jobs]
        final = [[job.series(f"valid/loss/{task}")[-1][1] for task in tasks] for job in self.jobs]
        cells = [
            f"{mean(run[t][1] for run in best):.3f} / {mean(run[t] for run in final):.3f}" for t in range(len(tasks))
        ]
        steps = [[step for step, _ in run] for run in best]
        return [
            *cells,
            spread([mean(loss for _, loss in run) for run in best]),
            spread([mean(run) for run in final]),
            f"{mean(map(mean, steps)):.0f}",
            f"{mean(max(run) - min(run) for run in steps):.0f}",
        ]


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
    return sorted(found, key=lambda own: mean(_lowest(job) for job in own.jobs))


def spread(values: Sequence[float]) -> str:
    """Their mean and, of several, their standard deviation."""
    return f"{mean(values):.3f}" + (f" ± {stdev(values):.3f}" if len(values) > 1 else "")


def _lowest(job: Record) -> float:
    return mean(job.best(f"valid/loss/{task}")[1] for task in job.tasks)
