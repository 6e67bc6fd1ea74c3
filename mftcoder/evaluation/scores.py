"""Every task's scores: of one model, or of two at the same samples, with a verdict each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from mftcoder.core.errors import raise_faults
from mftcoder.metric.base import Answered, Array, Metric, Needs
from mftcoder.statistics.intervals import Interval, difference, interval
from mftcoder.statistics.significance import holm, p_value
from mftcoder.statistics.verdict import Verdict, verdict


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One task by one metric.

    Args:
        task, name: of the two.
        metric: says how numbers are shown.
        value: of the model.
        before: of the model that it is compared with, None where it is with none.
        verdict: of the comparison, None where there is none.
        stats: [n, d], of each sample; before_stats the same of the other model.
    """

    task: str
    name: str
    metric: Metric
    value: Interval
    before: Interval | None = None
    verdict: Verdict | None = None
    stats: Array
    before_stats: Array | None = None


def scored(
    samples: Sequence[Answered],
    before: Sequence[Answered] | None,
    metrics: Mapping[str, Mapping[str, Metric]],
    *,
    noun: str = "samples",
) -> list[Scored]:
    """The scores of each task by each of its metrics; with `before`, all p-values corrected for how many they are.

    Args:
        samples: of all tasks, as one model answers them.
        before: the same samples, as the other does.
        metrics: by task, and by name.
        noun: of what was counted, "samples" or "problems".
    """
    rows = []
    for task, chosen in metrics.items():
        after_here, before_here = _of_task(samples, task), _of_task(before or (), task)
        assert before is None or [s.key for s in before_here] == [s.key for s in after_here]
        rows += list(_of_metrics(task, after_here, before_here, chosen))
    if before is None:
        return rows
    p_values = [p_value(row.before_stats, row.stats, row.metric.score) for row in rows if row.before_stats is not None]
    return [
        Scored(**{**vars(row), "verdict": _verdict(row, p, corrected, noun)})
        for row, p, corrected in zip(rows, p_values, holm(p_values), strict=True)
    ]


def _of_task(samples: Iterable[Answered], task: str) -> list[Answered]:
    return [sample for sample in samples if sample.task == task]


def _of_metrics(
    task: str, samples: Sequence[Answered], before: Sequence[Answered], metrics: Mapping[str, Metric]
) -> Iterator[Scored]:
    for chosen, whole in metrics.items():
        now, then = measurable(samples, whole.needs), measurable(before, whole.needs)
        for name, metric in whole.scores(chosen).items() if now else ():
            stats, other = metric.measure(now), metric.measure(then) if then else None
            yield Scored(
                task=task,
                name=name,
                metric=metric,
                value=interval(stats, metric.score),
                before=None if other is None else interval(other, metric.score),
                stats=stats,
                before_stats=other,
            )


def measurable(samples: Iterable[Answered], needs: Needs) -> list[Answered]:
    """The samples that have what a metric looks at."""
    if needs == "losses":
        return [sample for sample in samples if sample.tokens]
    if needs == "execution":
        return [sample for sample in samples if sample.passed]
    return [sample for sample in samples if sample.answers]


def _verdict(row: Scored, p: float, corrected: float, noun: str) -> Verdict:
    assert row.before_stats is not None
    apart = difference(row.before_stats, row.stats, row.metric.score)
    return verdict(row.metric, apart, p=p, corrected_p=corrected, noun=noun)


def chosen_metrics(
    own: Mapping[str, Sequence[str]], known: Mapping[str, Metric], defaults: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, Metric]]:
    """The metrics of each task, by its name.

    Args:
        own: the names that a task, or somebody for it, has given.
        known: all metrics by name.
        defaults: the names for the others, by task.

    Raises:
        UserError: for all names that are no metric's, and tasks that are none.
    """
    faults = [f"metrics: no task {task!r}; there are {', '.join(defaults)}" for task in own if task not in defaults]
    faults += [
        f"metrics: {name!r} of task {task} is no metric; there are {', '.join(known)}"
        for task, names in own.items()
        for name in names
        if name not in known
    ]
    raise_faults(faults)
    return {task: {name: known[name] for name in own.get(task, names)} for task, names in defaults.items()}
