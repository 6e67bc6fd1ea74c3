"""The verb `report`: the page of a run or a sweep, or its table and charts for a paper."""

from __future__ import annotations

from pathlib import Path

from mftcoder.core.errors import UserError
from mftcoder.report.draw import Format, jobs_of, write
from mftcoder.system.run_files import newest_run


def report(*, name: str, run: str, format: Format) -> None:
    """Write the report of a run; of a sweep, the pages of its jobs too.

    Args:
        name: of the directory that runs go to.
        run: the directory of a run or a sweep, or one above it, which stands for the newest.
        format: html, or for papers csv | tex (the table), svg | png (the charts).

    Raises:
        UserError: where there is no such run.
    """
    path = Path(run)
    if not path.is_dir():
        raise UserError(f"run={run}: no such directory; name one below runs/<name>/")
    if not jobs_of(path) and (newest := newest_run(path)) is not None:
        path = newest
    for written in write(path, format):
        print(written)
