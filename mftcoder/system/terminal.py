"""What people see on a terminal: where tables are printed, and how messages are logged."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mftcoder.system.streams import visible

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions
    from rich.table import Table
    from rich.text import Text

LEAST = 120  # columns where there is no terminal, whose 80 by default are too few for the tables
PROGRAM = "MFTCODER_PROGRAM"  # how worker processes know what the user typed
SWEEP = "MFTCODER_SWEEP"  # set for the jobs of a sweep
NAMES = {"launch.py": "python launch.py", "__main__.py": "python -m mftcoder"}


def remember_program() -> None:
    """Keep the name by which this program was started, for this process and those that it starts."""
    started = Path(sys.argv[0]).name
    os.environ[PROGRAM] = NAMES.get(started, started or "mftcoder")


def program() -> str:
    """The name by which this program was started, to be typed again: mftcoder, or python launch.py."""
    return os.environ.get(PROGRAM, "mftcoder")


def in_sweep() -> bool:
    """Whether this process runs one of many jobs, each of which says no more than a line."""
    return SWEEP in os.environ


def terminal() -> Console:
    """Standard output: as wide as the terminal, or wide enough for a table where it goes to a file or a pipe."""
    from rich.console import Console
    from rich.segment import Segment

    class Terminal(Console):
        """Shows control characters instead of obeying them, and survives a closed pipe."""

        def render_str(self, text: str, **options: Any) -> Text:
            return super().render_str(visible(text), **options)

        def render(self, renderable: Any, options: ConsoleOptions | None = None) -> Iterator[Segment]:
            for text, style, control in super().render(renderable, options):
                yield Segment(text if control else visible(text), style, control)

        def on_broken_pipe(self) -> None:
            """Go on; rich would end the process."""

    console = Terminal(markup=False, emoji=False)
    if not console.is_terminal:
        console.width = max(LEAST, console.width)
    return console


def table(*headings: str, texts: Collection[int] = (0,), **options: Any) -> Table:
    """An empty table, plain and framed by a line below its headings.

    Args:
        headings: of the columns.
        texts: the columns that hold texts, to the left; the others hold numbers, to the right.
        options: as for rich.table.Table.
    """
    from rich import box
    from rich.table import Table

    shown = Table(**{"box": box.SIMPLE_HEAD, "title_justify": "left", "caption_justify": "left", **options})
    for index, heading in enumerate(headings):
        shown.add_column(heading, justify="left" if index in texts else "right", overflow="fold")
    return shown


def log_plainly(level: int = logging.INFO) -> None:
    """Messages of ours from `level` on, of libraries from warnings on, as plain lines on stderr."""
    logging.basicConfig(level=logging.WARNING, force=True)
    for handler in logging.root.handlers:
        handler.setFormatter(_Visible("%(message)s"))
    logging.getLogger("mftcoder").setLevel(level)
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # It warns of optional kernels on every import.


class _Visible(logging.Formatter):
    """Shows control characters in messages, which may quote data or a checkpoint."""

    def format(self, record: logging.LogRecord) -> str:
        return visible(super().format(record))
