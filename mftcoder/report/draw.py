"""Writes report.html beside a run, or beside a sweep and each of its jobs."""

from __future__ import annotations

from pathlib import Path

from mftcoder.core.files import write_text
from mftcoder.report.record import METRICS, read
from mftcoder.report.run_page import run_page
from mftcoder.report.sweep_page import sweep_page
from mftcoder.storage import status

FILE = "report.html"
NOTES = (METRICS, status.FILE)  # what a run leaves at least: a job may have failed before it logged anything


def draw(path: Path) -> Path:
    """Write the report into the directory of a run or a sweep; where it is. Raises UserError where there is neither."""
    jobs = [read(job) for job in sorted({file.parent for name in NOTES for file in path.glob(f"*/{name}")})]
    for job in jobs:
        write_text(job.path / FILE, run_page(job))
    write_text(path / FILE, sweep_page(path, jobs) if jobs else run_page(read(path)))
    return path / FILE
