"""Line charts as SVG, drawn from plain numbers; a script on the page shows the values under the pointer."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape

from mftcoder.report.scale import Scale, label, spanning, ticks

WIDTH, HEIGHT = 560, 240
LEFT, RIGHT, TOP, BOTTOM = 56, 12, 10, 38
MOST_POINTS = 400
COLOURS, OVERALL = 9, -1  # how many there are for lines of one kind, and the index of what belongs to no single task

Points = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Series:
    """One line.

    Args:
        name: in the legend; none there where it is empty.
        points: (step, value), in order.
        colour: an index, the same on every chart of a page; after nine colours, lines are dashed, then dotted.
        dashed: whether the line is dashed in any case.
        band: (step, low, high) around the line.
    """

    name: str
    points: Points
    colour: int
    dashed: bool = False
    band: Sequence[tuple[float, float, float]] = ()

    @property
    def kind(self) -> str:
        """The class of the line."""
        return "dashed" if self.dashed else kind(self.colour)


def kind(colour: int) -> str:
    """Of lines that share a colour: solid, dashed and dotted."""
    return ("", "dashed", "dotted")[colour // COLOURS % 3] if colour != OVERALL else ""


def tint(colour: int) -> int:
    """Which of the page's ten colours an index stands for."""
    return COLOURS if colour == OVERALL else colour % COLOURS


def line_chart(title: str, series: Sequence[Series]) -> str:
    """A figure with one line a series; nothing where there is nothing to show.

    Of more than 400 points, neighbours are averaged; a single point is drawn as a dot.
    """
    drawn = [replace(s, points=_thinned(s.points)) for s in series if s.points]
    if not drawn:
        return ""
    places = [place for line in drawn for place, _ in line.points]
    values = [value for line in drawn for _, value in line.points]
    values += [value for line in drawn for _, *ends in line.band for value in ends]
    across = spanning(places, LEFT, WIDTH - RIGHT, margin=0.0)
    up = spanning(values, HEIGHT - BOTTOM, TOP, margin=0.05)
    data = json.dumps([{"name": s.name, "colour": tint(s.colour), "points": s.points} for s in drawn])
    frame = json.dumps([across.low, across.high, LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM])
    lines = "".join(_line(s, across, up) for s in drawn)
    legend = "".join(
        f'<span class="{s.kind}" style="--c:var(--c{tint(s.colour)})">{escape(s.name)}</span>' for s in drawn if s.name
    )
    return (
        f'<figure class="chart"><figcaption>{escape(title)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" data-series="{escape(data)}" data-frame="{escape(frame)}">'
        f"{_axes(across, up)}{lines}</svg>"
        f'<div class="legend">{legend}</div></figure>'
    )


def _axes(across: Scale, up: Scale) -> str:
    floor = HEIGHT - BOTTOM
    marks = [
        f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{up.at(v)}" y2="{up.at(v)}"/>'
        f'<text x="{LEFT - 6}" y="{up.at(v) + 4}" text-anchor="end">{label(v)}</text>'
        for v in ticks(up.low, up.high, 5)
    ]
    marks += [
        f'<text x="{across.at(v)}" y="{floor + 17}" text-anchor="middle">{label(v)}</text>'
        for v in ticks(across.low, across.high, 6, least=1)
    ]
    marks.append(f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">step</text>')
    return f'<g class="axes">{"".join(marks)}</g>'


def _line(series: Series, across: Scale, up: Scale) -> str:
    style = f'style="--c:var(--c{tint(series.colour)})"'
    places = [(across.at(step), up.at(value)) for step, value in series.points]
    if len(places) == 1:
        return f'<circle {style} cx="{places[0][0]}" cy="{places[0][1]}" r="3"/>'
    path = "M" + "L".join(f"{x},{y}" for x, y in places)
    return f'{_band(series, across, up)}<path class="{series.kind}" {style} d="{path}"/>'


def _band(series: Series, across: Scale, up: Scale) -> str:
    if not series.band:
        return ""
    there = [f"{across.at(step)},{up.at(high)}" for step, _, high in series.band]
    back = [f"{across.at(step)},{up.at(low)}" for step, low, _ in reversed(series.band)]
    return f'<path class="band" style="--c:var(--c{tint(series.colour)})" d="M{"L".join([*there, *back])}Z"/>'


def _thinned(points: Points) -> Points:
    size = math.ceil(len(points) / MOST_POINTS)
    if size == 1:
        return points
    buckets = [points[at : at + size] for at in range(0, len(points), size)]
    return [(sum(x for x, _ in b) / len(b), sum(y for _, y in b) / len(b)) for b in buckets]
