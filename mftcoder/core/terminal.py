"""What people see on a terminal: where tables are printed, and how messages are logged."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

LEAST = 120  # columns where there is no terminal, whose 80 by default are too few for the tables


def terminal() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a table where it goes to a file or a pipe."""
    from rich.console import Console

    console = Console()
    if not console.is_terminal:
        console.width = max(LEAST, console.width)
    return console


def log_plainly(level: int = logging.INFO) -> None:
    """Messages of ours from `level` on, of libraries from warnings on, as plain lines on stderr."""
    logging.basicConfig(format="%(message)s", level=logging.WARNING, force=True)
    logging.getLogger("mftcoder").setLevel(level)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # It warns of optional kernels on every import.
