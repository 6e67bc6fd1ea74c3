"""What can be typed once something has ended."""

from __future__ import annotations

import os
from pathlib import Path

from mftcoder.system.terminal import program


def after_training(run_dir: Path) -> str:
    """For a run that is complete."""
    run = short(run_dir)
    steps = [
        f"{program()} evaluate checkpoint={run}",
        f'{program()} generate checkpoint={run} prompt="…"',
        f"{program()} export checkpoint={run} output=out",
        f"{program()} again {run} KEY=VALUE",
    ]
    return "\n".join(["next:", *(f"  {step}" for step in steps)])


def after_stop(run_dir: Path) -> str:
    """For a run that was stopped with a checkpoint."""
    return f"go on: {program()} resume {short(run_dir)}"


def after_export(directory: Path) -> str:
    """For a model that was written."""
    return f"next: vllm serve {short(directory)} --served-model-name {directory.name}"


def after_sweep(sweep: Path, best: Path | None) -> str:
    """For a sweep, of which one job may be of the best choice."""
    steps = [f"{program()} report run={short(sweep)} format=tex"]
    if best is not None:
        steps.insert(0, f"{program()} again {short(best)} KEY=VALUE")
    return "\n".join(["next:", *(f"  {step}" for step in steps)])


def short(path: Path) -> str:
    """A path as it is typed where we are."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith("..") else relative
