"""The verb `report`: report.html beside a run or a sweep, to be read in any browser."""

from __future__ import annotations

from pathlib import Path

from mftcoder.core.errors import UserError
from mftcoder.core.manifest import write_text
from mftcoder.page.record import read
from mftcoder.page.run_page import run_page
from mftcoder.page.sweep_page import sweep_page

FILE = "report.html"


def report(*, name: str, run: str) -> None:
    """Write the report of a run; of a sweep, that of each job too. name: of the directory that runs go to."""
    path = Path(run)
    if not path.is_dir():
        raise UserError(f"run={run}: no such directory; name one below runs/<name>/")
    jobs = sorted(file.parent for file in path.glob("*/metrics.jsonl"))
    if jobs:
        records = [read(job) for job in jobs]
        for record in records:
            write_text(record.path / FILE, run_page(record))
        write_text(path / FILE, sweep_page(path, records))
    else:
        write_text(path / FILE, run_page(read(path)))
    print(f"{path / FILE}")
