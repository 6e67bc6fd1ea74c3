"""Writes the report of a run, or of a sweep and each of its jobs: pages, and what a paper needs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

from mftcoder.report import paper
from mftcoder.report.comparison import Comparison, compare
from mftcoder.report.differences import difference_chart
from mftcoder.report.record import METRICS, Record, read
from mftcoder.report.run_page import loss_chart, run_page
from mftcoder.report.sweep_page import curves, sweep_page
from mftcoder.storage import status
from mftcoder.system.files import write_text

FILE = "report.html"
NOTES = (METRICS, status.FILE)  # what a run leaves at least: a job may have failed before it logged anything
Format: TypeAlias = Literal["html", "csv", "tex", "svg", "png"]
TABLES: dict[str, tuple[Callable[[Comparison], str], Callable[[Record], str]]] = {
    "csv": (paper.comparison_csv, paper.run_csv),
    "tex": (paper.comparison_tex, paper.run_tex),
}


def draw(path: Path) -> Path:
    """Write report.html into the directory of a run or a sweep; where it is.

    Raises:
        UserError: where there is neither.
    """
    jobs = jobs_of(path)
    for job in jobs:
        write_text(job.path / FILE, run_page(job))
    write_text(path / FILE, sweep_page(path, jobs) if jobs else run_page(read(path)))
    return path / FILE


def write(path: Path, form: Format) -> list[Path]:
    """Write the report of a run or a sweep in one form; where its parts are.

    Raises:
        UserError: where there is neither, and where what draws a PNG is not there.
    """
    if form == "html":
        return [draw(path)]
    jobs = jobs_of(path)
    comparison = compare(jobs)
    run = None if jobs else read(path)
    if form in TABLES:
        of_sweep, of_run = TABLES[form]
        text = of_sweep(comparison) if comparison is not None else of_run(run or jobs[0])
        write_text(path / f"table.{form}", text)
        return [path / f"table.{form}"]
    figures = {"curves": loss_chart(run) if run is not None else curves(comparison, jobs)}
    if comparison is not None and (chart := difference_chart(comparison)):
        figures["differences"] = chart
    return [_picture(path / f"{name}.{form}", figure) for name, figure in figures.items()]


def jobs_of(path: Path) -> list[Record]:
    """The jobs of a sweep by their numbers; none where a directory is no sweep's."""
    found = {file.parent for name in NOTES for file in path.glob(f"*/{name}")}
    return [read(job) for job in sorted(found, key=place_of)]


def place_of(job: Path) -> tuple[float, str]:
    """By the number that a job's name begins with; names that someone chose come last."""
    number = job.name.partition("-")[0]
    return (int(number) if number.isdecimal() else math.inf), job.name


def _picture(file: Path, figure: str) -> Path:
    drawing = paper.svg(figure)
    if file.suffix == ".png":
        file.write_bytes(paper.png(drawing))
    else:
        write_text(file, drawing)
    return file
