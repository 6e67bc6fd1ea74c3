"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

LEAST = 120  # columns where there is no terminal, whose 80 by default are too few for the tables


def terminal() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a table where it goes to a file or a pipe."""
    console = Console()
    if not console.is_terminal:
        console.width = max(LEAST, console.width)
    return console
