"""The chart of a comparison: for each choice the difference to the first, with its interval, task by task."""

from __future__ import annotations

import math
from html import escape

from mftcoder.report.comparison import MEAN, Comparison, Difference
from mftcoder.report.scale import Scale, label, spanning, ticks

WIDTH, LEFT, RIGHT, TOP, FLOOR = 1120, 250, 20, 12, 40
LINE, GAP = 15, 12  # height of one difference, and of the space between two choices


def difference_chart(comparison: Comparison) -> str:
    """A figure with a row a choice and a dot a task; nothing where there is no difference to show."""
    rows = [row for row in comparison.rows if any(cell.values for cell in row.differences.values())]
    cells = [cell for row in rows for cell in row.differences.values() if cell.values]
    if not cells:
        return ""
    block = LINE * len(comparison.columns) + GAP
    height = TOP + block * len(rows) + FLOOR
    known = [value for cell in cells for value in (cell.mean, cell.low, cell.high, 0.0) if math.isfinite(value)]
    across = spanning(known, LEFT, WIDTH - RIGHT, margin=0.04)
    drawn = []
    for place, row in enumerate(rows):
        top = TOP + place * block
        drawn.append(
            f'<text class="name" x="{LEFT - 110}" y="{top + block / 2}" text-anchor="end">{escape(row.name)}</text>'
        )
        for index, column in enumerate(comparison.columns):
            if (cell := row.differences[column]).values:
                drawn.append(_mark(cell, column, index, across, top + LINE * (index + 1)))
    caption = f"Validation loss minus that of {comparison.first}: left of 0 is better; bars hold the mean at 95 %"
    return (
        f'<figure class="wide"><figcaption>{escape(caption)}</figcaption>'
        f'<svg viewBox="0 0 {WIDTH} {height}">{_axes(across, height)}{"".join(drawn)}</svg></figure>'
    )


def _axes(across: Scale, height: int) -> str:
    floor = height - FLOOR + 8
    marks = [
        f'<line x1="{across.at(v)}" x2="{across.at(v)}" y1="{TOP}" y2="{floor}"{_strong(v)}/>'
        f'<text x="{across.at(v)}" y="{floor + 16}" text-anchor="middle">{label(v)}</text>'
        for v in ticks(across.low, across.high, 8)
    ]
    return f'<g class="axes">{"".join(marks)}</g>'


def _strong(value: float) -> str:
    return ' class="axis"' if value == 0 else ""


def _mark(cell: Difference, column: str, index: int, across: Scale, y: float) -> str:
    """A dot at the mean difference, hollow where it is no evidence, with the interval and the name of the task."""
    style = f'style="--c:var(--c{9 if column == MEAN else (index - 1) % 9})"'
    name = f'<text x="{LEFT - 8}" y="{y + 4}" text-anchor="end">{escape(column)}</text>'
    told = escape(f"{column}: {cell.mean:+.4f}, {cell.verdict}")
    hollow = "" if cell.star else ' class="hollow"'
    dot = f'<circle {style}{hollow} cx="{across.at(cell.mean)}" cy="{y}" r="4"><title>{told}</title></circle>'
    if not math.isfinite(cell.low):
        return name + dot
    return f'{name}<path {style} d="M{across.at(cell.low)},{y}L{across.at(cell.high)},{y}"/>{dot}'
