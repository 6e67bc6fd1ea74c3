"""The verb `report`: report.html beside a run or a sweep, to be read in any browser. Runs draw their own at the end."""

from __future__ import annotations

from pathlib import Path

from mftcoder import status
from mftcoder.core.errors import UserError
from mftcoder.core.manifest import write_text
from mftcoder.page.record import METRICS, read
from mftcoder.page.run_page import run_page
from mftcoder.page.sweep_page import sweep_page

FILE = "report.html"
NOTES = (METRICS, status.FILE)  # what a run leaves at least: a job may have failed before it logged anything


def report(*, name: str, run: str) -> None:
    """Write the report of a run; of a sweep, that of each job too. name: of the directory that runs go to."""
    path = Path(run)
    if not path.is_dir():
        raise UserError(f"run={run}: no such directory; name one below runs/<name>/")
    print(f"{draw(path)}")


def draw(path: Path) -> Path:
    """Write the report into the directory of a run or a sweep; where it is. Raises UserError where there is neither."""
    jobs = [read(job) for job in sorted({file.parent for name in NOTES for file in path.glob(f"*/{name}")})]
    for job in jobs:
        write_text(job.path / FILE, run_page(job))
    write_text(path / FILE, sweep_page(path, jobs) if jobs else run_page(read(path)))
    return path / FILE
