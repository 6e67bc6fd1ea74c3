"""Writes what a run of two tasks leaves behind, with made-up numbers."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import yaml

from mftcoder.storage import status

TASKS = {"code": 2.0, "docs & <notes>": 1.5}


def lines(steps: int, *, slope: float) -> list[dict[str, Any]]:
    """An evaluation every 10 steps; the second task is absent from each third step."""
    written: list[dict[str, Any]] = []
    for step in range(steps + 1):
        line: dict[str, Any] = {"step": step, "epoch": step / 20, "tokens": 1000 * step}
        present = {task: start for task, start in TASKS.items() if task == "code" or step % 3}
        if step:
            line |= {f"train/loss/{task}": start * math.exp(-slope * step) for task, start in present.items()}
            line |= {f"train/weight/{task}": 1 / len(present) for task in present}
            line |= {f"train/effective_weight/{task}": (0.6, 0.4)[i] for i, task in enumerate(TASKS)}
            line |= {"train/loss": 1.75 * math.exp(-slope * step), "learning_rate": 1e-3 * (1 - step / (steps + 1))}
            line |= {"grad_norm": None if step == 7 else 1 / step, "tokens_per_second": 1200.0 + step % 7}
            line |= {"supervised_tokens_per_second": 400.0, "memory_bytes": 3.2e9}
        if step % 10 == 0:
            losses = {f"valid/loss/{task}": start * math.exp(-slope * step) + 0.1 for task, start in TASKS.items()}
            line |= losses | {"valid/loss": sum(losses.values()) / 2}
        written.append(line)
    return written


def write_run(path: Path, *, slope: float = 0.02, steps: int = 40, overrides: tuple[str, ...] = ("seed=3",)) -> Path:
    """The directory of a completed run; its losses fall with exp(-slope * step)."""
    (path / ".hydra").mkdir(parents=True)
    metrics = lines(steps, slope=slope)
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))
    samples = [
        {
            "step": step,
            "task": "code",
            "prompt": "write <b>add</b>",
            "reference": "def add(a, b): ...",
            "answer": answer,
        }
        for step, answer in ((0, "I can not."), (steps, "def add(a, b):\n    return a + b"))
    ]
    (path / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))
    (path / "config.yaml").write_text("optimizer:\n  lr: 0.001\n")
    (path / ".hydra" / "overrides.yaml").write_text(yaml.safe_dump(list(overrides)))
    status.update(path, state="completed", step=steps, metric=metrics[-1]["valid/loss"])
    return path


def write_sweep(path: Path) -> Path:
    """Four jobs over two learning rates and two balancers."""
    jobs = [(lr, balancer) for lr in ("1e-4", "1e-3") for balancer in ("equal", "coba")]
    for number, (lr, balancer) in enumerate(jobs):
        overrides = (f"optimizer.lr={lr}", f"+balancer={balancer}", "model=tiny")
        write_run(path / f"{number}-abcdef0{number}", slope=0.01 * (number + 1), overrides=overrides)
    return path
