"""Records that cannot be used: collected while reading, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mftcoder.core.errors import raise_faults

SHOWN = 20
EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """One unusable record.

    Args:
        origin: `path:line`.
        reason: what is wrong, and what was expected.
        text: its beginning.
    """

    origin: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


def refuse(faults: Sequence[Fault], *, rows: int, max_fraction: float, remedy: str) -> None:
    """Refuses data of which too many records are unusable.

    Args:
        faults: the unusable records.
        rows: how many records there are.
        max_fraction: of them that may be unusable.
        remedy: last line of the message.

    Raises:
        UserError: there are more; it lists the first faults, each kind once.
    """
    if len(faults) <= max_fraction * rows:
        return
    kinds: dict[str, list[Fault]] = {}
    for fault in faults:
        kinds.setdefault(fault.reason, []).append(fault)
    shown = list(kinds.values())[:SHOWN]
    lines = [f"{len(faults)} of {rows} records cannot be used (allowed: {max_fraction:.2%}):"]
    lines += [f"  {alike[0]}{like_it(alike)}" for alike in shown]
    if rest := len(faults) - sum(map(len, shown)):
        lines.append(f"  … and {rest} more")
    raise_faults([*lines, remedy])


def like_it(alike: Sequence[Fault]) -> str:
    """How many more than the first there are, and where the last is."""
    return "" if len(alike) == 1 else f" (and {len(alike) - 1} more like it, the last {alike[-1].origin})"
