"""The verb `report`: report.html beside a run or a sweep, to be read in any browser. Runs draw their own at the end."""

from __future__ import annotations

from pathlib import Path

from mftcoder.core.errors import UserError
from mftcoder.report.draw import draw


def report(*, name: str, run: str) -> None:
    """Write the report of a run; of a sweep, that of each job too. name: of the directory that runs go to."""
    path = Path(run)
    if not path.is_dir():
        raise UserError(f"run={run}: no such directory; name one below runs/<name>/")
    print(f"{draw(path)}")
