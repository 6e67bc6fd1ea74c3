"""The bar that shows how far something long is."""

from __future__ import annotations

from os import environ

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


def progress(*, transient: bool) -> Progress:
    """A bar for the first rank, and none for the others; a transient one is gone once it is full."""
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, transient=transient, disable=environ.get("RANK", "0") != "0")
