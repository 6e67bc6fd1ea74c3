"""Parallel coordinates as SVG: many jobs over many settings and results, the best of them strongest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from mftcoder.report.chart import kind, tint
from mftcoder.report.scale import Scale, label, spanning

WIDTH, HEIGHT = 1120, 300
LEFT, RIGHT, TOP, BOTTOM = 70, 70, 40, 24
FEW, LINE = 5, 12  # numbers beside an axis; the height of one


@dataclass(frozen=True, slots=True)
class Axis:
    """One setting or result of each job: numbers, or words where not all are numbers; None where a job has none."""

    name: str
    values: Sequence[float | str | None]


def parallel(axes: Sequence[Axis], jobs: Sequence[str], colours: Sequence[int] | None = None) -> str:
    """A figure with a line a job across all axes.

    Args:
        axes: settings and results.
        jobs: what each is called, the best first; they are drawn worst first.
        colours: an index for each job, as for the series of a line chart; its rank where there are none.
    """
    if len(axes) < 2 or len(jobs) < 2:
        return ""
    across = Scale(0, len(axes) - 1, LEFT, WIDTH - RIGHT)
    columns = [_column(axis, across.at(i)) for i, axis in enumerate(axes)]
    rules = "".join(rule for rule, _, _ in columns)
    texts = "".join(text for _, text, _ in columns)
    lines = []
    for rank, job in reversed(list(enumerate(jobs))):
        points = [(across.at(i), places[rank]) for i, (*_, places) in enumerate(columns)]
        path = "M" + "L".join(f"{x},{y}" for x, y in points if y is not None)
        share = 1 - rank / max(1, len(jobs) - 1)
        colour = rank if colours is None else colours[rank]
        css = f"job {kind(colour)}".strip()
        style = f"--c:var(--c{tint(colour)});--share:{share:.3f}"
        lines.append(f'<path class="{css}" style="{style}" d="{path}"><title>{escape(job)}</title></path>')
    return (
        '<figure class="wide"><figcaption>All jobs, the best of them strongest; losses: lower is better</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}"><g class="axes">{rules}</g>{"".join(lines)}'
        f'<g class="over">{texts}</g></svg></figure>'
    )


def _column(axis: Axis, x: float) -> tuple[str, str, list[float | None]]:
    """The rule of an axis at `x`, what is written beside it, and the height of each job on it."""
    scale, words = _scale(axis)
    places = [None if v is None else scale.at(words[str(v)] if words else float(v)) for v in axis.values]
    marks = {scale.at(place): word for word, place in words.items()} or {scale.at(v): label(v) for v in _marked(axis)}
    texts = "".join(f'<text x="{x + 6}" y="{y + 4}">{escape(text)}</text>' for y, text in _legible(marks).items())
    name = f'<text class="name" x="{x}" y="{TOP - 16}" text-anchor="middle">{escape(axis.name)}</text>'
    rule = f'<line class="axis" x1="{x}" x2="{x}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
    return rule, name + texts, places


def _legible(marks: dict[float, str]) -> dict[float, str]:
    """What is to be written at each height, but for what would run into something else; the ends come first."""
    kept: dict[float, str] = {}
    for y in sorted(marks, key=lambda y: -abs(y - HEIGHT / 2)):
        if all(abs(y - other) >= LINE for other in kept):
            kept[y] = marks[y]
    return kept


def _marked(axis: Axis) -> list[float]:
    """The numbers to write beside an axis: all if they are few, else the ends."""
    values = sorted({float(v) for v in axis.values if v is not None})
    return values if len(values) <= FEW else [values[0], values[-1]]


def _scale(axis: Axis) -> tuple[Scale, dict[str, int]]:
    """A scale over the axis, logarithmic where numbers differ by more than 5 times, and the places of words."""
    known = [v for v in axis.values if v is not None]
    numbers = [float(v) for v in known if not isinstance(v, str)]
    if len(numbers) < len(known):
        words = {word: place for place, word in enumerate(dict.fromkeys(map(str, known)))}
        return spanning(words.values(), HEIGHT - BOTTOM, TOP, margin=0.0), words
    straight = spanning(numbers or [0.0], HEIGHT - BOTTOM, TOP, margin=0.0)
    logarithmic = straight.low > 0 and straight.high / straight.low > 5
    return Scale(straight.low, straight.high, straight.start, straight.end, logarithmic), {}
