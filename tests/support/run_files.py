"""What tests read of a run that has ended, and a tracker that asks one to stop."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mftcoder.system import manifest
from mftcoder.tracker.base import Tracker


class StopAt(Tracker):
    """Sends the process a signal once it has logged a step."""

    def __init__(self, step: int) -> None:
        self.step = step

    def start(self, **about: Any) -> None:
        pass

    def log(self, metrics: Mapping[str, float]) -> None:
        if metrics["step"] == self.step:
            os.kill(os.getpid(), signal.SIGTERM)

    def finish(self) -> None:
        pass


def metrics(run_dir: Path) -> list[dict[str, float]]:
    """What was logged, without what depends on the machine's mood."""
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    moody = ("seconds/", "tokens_per_second", "supervised_tokens_per_second", "memory_bytes")
    return [{k: v for k, v in line.items() if not k.startswith(moody)} for line in lines]


def step_files(run_dir: Path, step: int) -> dict[str, bytes]:
    """The content of a checkpoint, but for what names its run, time or versions."""
    directory = run_dir / "checkpoints" / f"step_{step:06d}"
    skipped = ("manifest.json", "run.json", "README.md")
    return {p.name: p.read_bytes() for p in directory.iterdir() if p.name not in skipped}


def names(run_dir: Path) -> list[str]:
    return sorted(p.name for p in (run_dir / "checkpoints").iterdir())


def same_end(run_dir: Path, whole: Path) -> bool:
    """Whether a run ended with the bits of another, and has the same log."""
    return step_files(run_dir, 6) == step_files(whole, 6) and metrics(run_dir) == metrics(whole)


def anomalies(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "anomalies.jsonl").read_text().splitlines()]


def without(run: Callable[..., Any], whole: Path, run_dir: Path, *, back: int, bad: int) -> Path:
    """A run that takes the steps of `whole` up to `back`, and goes on with the data that came after step `bad`."""
    step = run_dir.parent / "cut" / "checkpoints" / f"step_{back:06d}"
    shutil.copytree(whole / "checkpoints" / step.name, step)
    shutil.copy(whole / "checkpoints" / f"step_{bad:06d}" / "sampler.json", step)
    (step / manifest.MANIFEST).unlink()
    manifest.seal(step, step=back, metrics={}, versions={})
    run(run_dir, f"resume={step}", "training.evaluation_steps=2")
    return run_dir
