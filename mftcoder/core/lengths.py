"""Lengths that are given in optimizer steps, or as a fraction of the run."""

from __future__ import annotations

from typing import overload


@overload
def in_steps(length: int | float, total_steps: int, *, least: int = 1) -> int: ...
@overload
def in_steps(length: int | float | None, total_steps: int, *, least: int = 1) -> int | None: ...
def in_steps(length: int | float | None, total_steps: int, *, least: int = 1) -> int | None:
    """A length in optimizer steps.

    Args:
        length: steps if an int; if a float below 1, that fraction of `total_steps`; None stays None.
        total_steps: of the run.
        least: what a fraction comes to at least.
    """
    if length is None or isinstance(length, int):
        return length
    return max(least, round(length * total_steps)) if length < 1 else int(length)


def length_fault(name: str, length: int | float | None) -> str | None:
    """What is wrong with a length that was given, None if nothing is."""
    if length is None or (isinstance(length, int) and length >= 1) or (isinstance(length, float) and 0 < length < 1):
        return None
    return f"{name}: {length} is neither a number of steps (an int from 1) nor a fraction of the run (0.0 < f < 1.0)"
