"""What a run left in its directory, read back for people to look at."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mftcoder.core.errors import UserError
from mftcoder.storage import status

METRICS = "metrics.jsonl"


@dataclass(frozen=True)
class Record:
    """One run. metrics: the lines of metrics.jsonl. samples: those of samples.jsonl. config: config.yaml as text.

    overrides: what was typed, by key.
    """

    path: Path
    metrics: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    config: str
    overrides: dict[str, str]

    @cached_property
    def status(self) -> status.Status | None:
        """How the run stands."""
        return status.read(self.path)

    @cached_property
    def tasks(self) -> list[str]:
        """Names of the tasks that have a loss, in the order in which they first had one."""
        prefixes = ("valid/loss/", "train/loss/")
        names = (name for line in self.metrics for name in line)
        return list(dict.fromkeys(n.removeprefix(p) for n in names for p in prefixes if n.startswith(p)))

    def series(self, name: str) -> list[tuple[float, float]]:
        """All (step, value) of one metric."""
        return [(line["step"], line[name]) for line in self.metrics if line.get(name) is not None]

    def best(self, name: str) -> tuple[float, float]:
        """Step and value where a metric with a series is lowest, the earliest such."""
        return min(self.series(name), key=lambda point: point[1])


def read(path: Path) -> Record:
    """The record of a run, of which there may be no more than how it failed. Raises UserError where there is none."""
    metrics = path / METRICS
    if not metrics.is_file() and status.read(path) is None:
        raise UserError(f"run={path}: no run, it has no {METRICS}; name a directory below runs/<name>/")
    overrides = path / ".hydra" / "overrides.yaml"
    typed = yaml.safe_load(_text(overrides)) or []
    return Record(
        path=path,
        metrics=lines(metrics),
        samples=lines(path / "samples.jsonl"),
        config=_text(path / "config.yaml"),
        overrides=dict(override.lstrip("+~").partition("=")[::2] for override in typed),
    )


def lines(path: Path) -> list[dict[str, Any]]:
    """The objects of a file of JSON lines, none where it is absent; the last line may still be being written."""
    return [json.loads(line) for line in _text(path).splitlines(keepends=True) if line.endswith("\n")]


def pairs(samples: list[dict[str, Any]]) -> list[tuple[Mapping[str, Any], Mapping[str, Any]]]:
    """Each prompt with its answers at the first and the last step that has some."""
    found: dict[tuple[str, str], tuple[Mapping[str, Any], Mapping[str, Any]]] = {}
    for sample in samples:
        key = sample["task"], sample["prompt"]
        found[key] = (found.get(key, (sample, sample))[0], sample)
    return list(found.values())


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""
