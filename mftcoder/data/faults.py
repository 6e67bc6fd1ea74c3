"""Records that cannot be used: collected while reading, so that all of them are reported at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mftcoder.core.errors import UserError

SHOWN = 20
EXCERPT = 200


@dataclass(frozen=True, slots=True)
class Fault:
    """One unusable record. origin: `path:line`. reason: what is wrong and what was expected. text: its beginning."""

    origin: str
    reason: str
    text: str

    def __str__(self) -> str:
        return f"{self.origin}: {self.reason}"


def refuse(faults: Sequence[Fault], *, rows: int, max_fraction: float, remedy: str) -> None:
    """Raise a UserError that lists the first faults if more than `max_fraction` of `rows` records are unusable."""
    if len(faults) <= max_fraction * rows:
        return
    listed = "\n".join(f"  {fault}" for fault in faults[:SHOWN])
    more = f"\n  … and {len(faults) - SHOWN} more" if len(faults) > SHOWN else ""
    raise UserError(
        f"{len(faults)} of {rows} records cannot be used (allowed: {max_fraction:.2%}):\n{listed}{more}\n{remedy}"
    )
