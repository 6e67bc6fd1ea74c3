"""A report for a paper: the table as CSV or LaTeX, the charts as SVG or PNG that stand alone."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Sequence
from html import unescape
from importlib.resources import files
from statistics import stdev

from mftcoder.core.errors import UserError
from mftcoder.report.comparison import Comparison, plus_minus
from mftcoder.report.record import Record

SPECIAL = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}"}
SPECIAL |= {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "\\": r"\textbackslash{}", "<": "$<$", ">": "$>$"}


def comparison_csv(comparison: Comparison) -> str:
    """A line a choice and column: the losses over the seeds, and the difference to the first choice."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    keys = list(comparison.rows[0].settings)
    told = ["seeds", "loss", "deviation", "difference", "low", "high", "verdict"]
    writer.writerow([*keys, "task", *told])
    for row in comparison.rows:
        for column in comparison.columns:
            losses, cell = row.losses[column], row.differences[column]
            if losses:
                spread = stdev(losses) if len(losses) > 1 else math.nan
                numbers = [sum(losses) / len(losses), spread, cell.mean, cell.low, cell.high]
                written = ["" if math.isnan(number) else repr(number) for number in numbers]
                writer.writerow([*row.settings.values(), column, len(losses), *written, cell.verdict])
    return out.getvalue()


def run_csv(run: Record) -> str:
    """A line a logged step: step, and all losses and weights of the tasks."""
    names = sorted({name for line in run.metrics for name in line if name.startswith(("valid/", "train/"))})
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(["step", *names])
    for line in run.metrics:
        writer.writerow([line["step"], *("" if line.get(name) is None else line[name] for name in names)])
    return out.getvalue()


def comparison_tex(comparison: Comparison) -> str:
    """A table for booktabs: of the first choice its losses, of the others their differences to it."""
    seeds = comparison.seeds
    caption = f"Lowest validation loss of {tex(comparison.first)}, and of the others the paired difference to it" + (
        f" (mean $\\pm$ deviation over {seeds} seeds; $^*$: 95\\,\\%, Holm)." if seeds > 1 else " (one seed)."
    )
    rows = sorted(comparison.rows, key=lambda row: row.name != comparison.first)
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{table}",
        r"  \centering",
        rf"  \caption{{{caption}}}",
        rf"  \begin{{tabular}}{{l{'r' * len(comparison.columns)}}}",
        r"    \toprule",
        f"    {' & '.join(['', *map(tex, comparison.columns)])} \\\\",
        r"    \midrule",
    ]
    for row in rows:
        first = row.name == comparison.first
        cells = [
            _maths(row.spread(column) if first else _told(row.differences[column].values), row.differences[column].star)
            for column in comparison.columns
        ]
        lines.append(f"    {' & '.join([tex(row.name), *cells])} \\\\")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", r"\end{table}", ""])


def run_tex(run: Record) -> str:
    """A table for booktabs: first, best and last validation loss of each task."""
    lines = [r"% needs \usepackage{booktabs}", r"\begin{tabular}{lrrr}", r"  \toprule"]
    lines += [r"  task & first & best & last \\", r"  \midrule"]
    for task, name in [*((task, f"valid/loss/{task}") for task in run.tasks), ("mean", "valid/loss")]:
        if losses := run.series(name):
            numbers = (losses[0][1], run.best(name)[1], losses[-1][1])
            lines.append(f"  {tex(task)} & {' & '.join(f'{number:.3f}' for number in numbers)} \\\\")
    return "\n".join([*lines, r"  \bottomrule", r"\end{tabular}", ""])


def tex(text: str) -> str:
    """A text as LaTeX shows it."""
    return "".join(SPECIAL.get(letter, letter) for letter in text)


def svg(figure: str) -> str:
    """The picture of a figure as a file of its own, on white, with its title and legend."""
    picture = re.search(r'<svg viewBox="0 0 ([\d.]+) ([\d.]+)"[^>]*>(.*)</svg>', figure, re.DOTALL)
    title = re.search(r"<figcaption>(.*?)</figcaption>", figure, re.DOTALL)
    if picture is None or title is None:
        raise UserError("nothing to draw: no validation loss was logged; format=csv has what there is")
    width, height, drawn = float(picture[1]), float(picture[2]), picture[3]
    names = re.findall(r'<span class="(\w*)" style="--c:var\(--c(\d)\)">(.*?)</span>', figure)
    legend, rows = _legend(names, width)
    total = height + 28 + 16 * rows
    size = f'viewBox="0 0 {width:g} {total:g}" width="{width:g}" height="{total:g}"'
    text = (
        f'<svg xmlns="http://www.w3.org/2000/svg" {size}>'
        f"<style>{files('mftcoder.report').joinpath('figure.css').read_text(encoding='utf-8')}</style>"
        f'<rect class="paper" width="{width:g}" height="{total:g}"/><text class="title" x="8" y="18">{title[1]}</text>'
        f'<g transform="translate(0 24)">{drawn}</g><g transform="translate(0 {height + 38:g})">{legend}</g></svg>\n'
    )
    return re.sub(r"--c:var\((--c\d)\)", lambda match: f"color:{_colours()[match[1]]}", text)


def png(drawing: str, *, scale: float = 2.0) -> bytes:
    """A drawing as a picture of `scale` times its size in pixels.

    Raises:
        UserError: where the package that draws is not there.
    """
    try:
        import cairosvg
    except (ImportError, OSError) as error:
        raise UserError(f"format=png: {error}; pip install 'mftcoder[figures]', or take format=svg") from error
    return bytes(cairosvg.svg2png(bytestring=drawing.encode(), scale=scale))


def _told(values: Sequence[float]) -> str:
    return plus_minus(values, signed=True)


def _maths(text: str, star: str) -> str:
    return f"${text.replace('±', chr(92) + 'pm')}{'^*' if star else ''}$" if text else ""


def _legend(names: Sequence[tuple[str, str, str]], width: float) -> tuple[str, int]:
    """The names of the lines, in as many rows as they need."""
    drawn, x, row = [], 8.0, 0
    for kind, colour, name in names:
        long = 34 + 6.2 * len(unescape(name))
        if x > 8 and x + long > width:
            x, row = 8.0, row + 1
        y = 16 * row
        style = f'class="{kind}" style="--c:var(--c{colour})"'
        drawn.append(f'<path {style} d="M{x:g},{y - 4}l20,0"/><text x="{x + 26:g}" y="{y}">{name}</text>')
        x += long
    return "".join(drawn), row + 1 if names else 0


def _colours() -> dict[str, str]:
    """The colours of the pages on white, by name."""
    style = files("mftcoder.report").joinpath("style.css").read_text(encoding="utf-8")
    found = dict(re.findall(r"(--\w+): light-dark\((#\w+),", style))
    return {**found, "--c9": found["--ink"]}
