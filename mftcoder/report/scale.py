"""From numbers to places on paper, and the round numbers to write beside an axis."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """A straight or logarithmic axis from value `low` at place `start` to value `high` at place `end`."""

    low: float
    high: float
    start: float
    end: float
    logarithmic: bool = False

    def at(self, value: float) -> float:
        """The place of `value`, to a tenth of a unit."""
        low, high, value = (
            map(math.log, (self.low, self.high, value)) if self.logarithmic else (self.low, self.high, value)
        )
        return round(self.start + (value - low) / (high - low) * (self.end - self.start), 1)


def spanning(values: Iterable[float], start: float, end: float, *, margin: float) -> Scale:
    """A straight axis over all values, with a share of `margin` left free at both ends.

    One value gets room too, and so do values that differ by rounding alone.
    """
    known = list(values)
    low, high = min(known), max(known)
    apart = high - low > 1e-6 * max(abs(low), abs(high))
    room = (high - low) * margin if apart else abs(low) * 0.1 or 1.0
    return Scale(low - room, high + room, start, end)


def ticks(low: float, high: float, count: int, *, least: float = 0.0) -> list[float]:
    """About `count` multiples of 1, 2 or 5 times a power of ten between low and high, at least `least` apart."""
    rough = max((high - low) / count, least)
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough * (1 - 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(step * i, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def label(value: float) -> str:
    """A number in few characters."""
    if abs(value) >= 10_000:
        power, letter = next((p, c) for p, c in ((1e9, "G"), (1e6, "M"), (1e3, "k")) if abs(value) >= p)
        return f"{value / power:.4g}{letter}"
    return f"{value:.4g}"
