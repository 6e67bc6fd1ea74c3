"""What a run left in its directory, read back for people to look at."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from mftcoder.core.errors import UserError
from mftcoder.storage import status

METRICS = "metrics.jsonl"
PROGRAM = re.compile(r"(launch\.py|mftcoder|mftcoder/__main__\.py)$")


@dataclass(frozen=True)
class Record:
    """One run.

    Args:
        path: its directory.
        metrics: the lines of metrics.jsonl.
        samples: the lines of samples.jsonl.
        config: config.yaml as text.
        overrides: what was typed, by key.
        environment: environment.json.
    """

    path: Path
    metrics: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    config: str
    overrides: dict[str, str]
    environment: dict[str, Any]

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The configuration that ran."""
        return dict(yaml.safe_load(self.config) or {})

    @property
    def model(self) -> str | None:
        """The path of the model, or its class where it is made."""
        model = self.settings.get("model") or {}
        return model.get("pretrained_model_path") or (model.get("_target_") or "").rpartition(".")[2] or None

    @property
    def data(self) -> str | None:
        """Where the data were, or their class, and the tasks."""
        data = self.settings.get("data") or {}
        source = ", ".join(map(str, data.get("paths") or [])) or (data.get("_target_") or "").rpartition(".")[2]
        return "; tasks: ".join(filter(None, (source, ", ".join(self.tasks)))) or None

    @property
    def date(self) -> str | None:
        """When it began."""
        return str(self.environment["time"]).replace("T", " ") if "time" in self.environment else None

    @property
    def git(self) -> str | None:
        """The commit of the code, and whether it was changed since."""
        git = self.environment.get("git") or {}
        return git.get("commit") and git["commit"][:12] + (" with changes" if git.get("dirty") else "")

    @property
    def command(self) -> str | None:
        """What was typed, to be typed again."""
        argv = [str(word) for word in self.environment.get("argv") or []]
        started = next((i for i, word in enumerate(argv) if PROGRAM.search(word)), None)
        if started is None:
            return None
        program = "python launch.py" if argv[started].endswith("launch.py") else "mftcoder"
        return f"{program} {shlex.join(argv[started + 1 :])}"

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
        environment=json.loads(_text(path / "environment.json") or "{}"),
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
