"""What a person wants to see when a run is over: each task before and after, an answer of each, and where all is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from mftcoder.core.progress import Progress
from mftcoder.page.record import lines, pairs

LINES = 10  # of each text shown


def show(progress: Progress, run_dir: Path) -> None:
    """Print the table of validation losses, the first answers of samples.jsonl before and after, and the directory."""
    console = Console()
    if not console.is_terminal:
        console.width = max(120, console.width)
    if progress.validations:
        console.print(_losses(progress))
    shown: set[str] = set()
    for before, after in pairs(lines(run_dir / "samples.jsonl")):
        if before is not after and before["task"] not in shown:
            console.print(_answers(before, after))
            shown.add(before["task"])
    console.print(Text(f"Everything is in {run_dir}"), soft_wrap=True)


def _losses(progress: Progress) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="validation loss of each task", title_justify="left")
    for heading in ("task", "before", "best", "at step", "change"):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for task in progress.tasks:
        first, best = progress.first(task), progress.best(task)
        assert best is not None, "a task that was validated has a best"
        table.add_row(Text(task), f"{first:.4f}", f"{best[1]:.4f}", str(best[0]), f"{best[1] - first:+.4f}")
    return table


def _answers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    table = Table(box=box.ROUNDED, title=f"{before['task']}", title_justify="left", show_header=False, show_lines=True)
    rows = {
        "prompt": before["prompt"],
        f"step {before['step']}": before["answer"],
        f"step {after['step']}": after["answer"],
        "reference": before["reference"],
    }
    for name, text in rows.items():
        table.add_row(name, Text(_shortened(text)))
    return table


def _shortened(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[:LINES] + ["…"] * (len(lines) > LINES))
