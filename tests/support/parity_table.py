"""How far the engines are from one process, from what the parity tests left: parity_table.py DIRECTORY."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Report = dict[str, Any]
HEADINGS, WIDTHS = ("loss", "task loss", "norm"), (13, 11, 11) * 2


def reports(directory: Path) -> list[Report]:
    """Of all steps of a case."""
    return json.loads((directory / "reports.json").read_text())


def differences(expected: Sequence[Report], got: Sequence[Report]) -> list[dict[str, float]]:
    """Of each step that was taken: the relative differences of loss, gradient norm and the farthest of the tasks."""
    taken = [(a, b) for a, b in zip(expected, got, strict=True) if not a["skipped"]]
    return [
        {
            "loss": _relative(a["loss"], b["loss"]),
            "task loss": max(map(_relative, a["losses"], b["losses"])),
            "norm": _relative(a["grad_norm"], b["grad_norm"]),
        }
        for a, b in taken
    ]


def _relative(expected: float, got: float) -> float:
    return abs(got - expected) / abs(expected)


def main() -> None:
    """Print a line for each engine and case."""
    work = Path(sys.argv[1]) / "parity"
    print(f"{'':26}{'first step':^35}{'all steps':^35}")
    print(f"{'engine':12}{'case':14}" + "".join(f"{name:>{w}}" for name, w in zip(HEADINGS * 2, WIDTHS, strict=True)))
    for file in sorted(work.glob("[!s]*/*/reports.json")):
        engine, key = file.parts[-3:-1]
        bf16 = key.startswith("bf16")
        wide = "float32" if engine.startswith("zero") else "float64"
        found = differences(reports(work / f"single-{'bf16' if bf16 else wide}" / key), reports(file.parent))
        worst = {name: max(step[name] for step in found) for name in found[0]}
        numbers = [*found[0].values(), *worst.values()]
        print(f"{engine:12}{key:14}" + "".join(f"{n:{w}.1e}" for n, w in zip(numbers, WIDTHS, strict=True)))


if __name__ == "__main__":
    main()
