"""What a person wants to see of a run. Before it: what it is about to learn from. When it is over: what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text
from torch import nn

from mftcoder.core.progress import Progress
from mftcoder.data.corpus.tables import Corpus
from mftcoder.report.record import lines, pairs
from mftcoder.system.terminal import in_sweep, table, terminal

LINES = 10  # of each text shown


def announce(corpus: Corpus, module: nn.Module, *, packs_per_step: int, total_steps: int) -> None:
    """Print what each task has, how much a step takes, and how many parameters of `module` are trained."""
    if in_sweep():
        return
    shown = table("task", "train", "valid", "test", "train tokens", "weight")
    for task, (name, weight) in enumerate(zip(corpus.tasks, corpus.weights, strict=True)):
        samples = [split.num_samples(task) for split in (corpus.train, corpus.valid, corpus.test)]
        numbers = [f"{number:,}" for number in (*samples, corpus.train.num_tokens(task))]
        shown.add_row(name, *numbers, f"{weight:g}")
    sizes = [(_size(parameter), parameter.requires_grad) for parameter in module.parameters()]
    trained, every = sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)
    packs = f"{packs_per_step:,} pack{'s' * (packs_per_step > 1)} a step, {total_steps:,} step{'s' * (total_steps > 1)}"
    console = terminal()
    console.print(shown)
    console.print(Text(f"{packs}; {trained:,} of {every:,} parameters are trained"), soft_wrap=True)


def show(progress: Progress, run_dir: Path) -> None:
    """Print the table of validation losses, the first answers of samples.jsonl at first and last, and the directory."""
    if in_sweep():
        return
    console = terminal()
    if progress.validations:
        console.print(_losses(progress))
    shown: set[str] = set()
    for before, after in pairs(lines(run_dir / "samples.jsonl")):
        if before is not after and before["task"] not in shown:
            console.print(_answers(before, after))
            shown.add(before["task"])
    console.print(Text(f"Everything is in {run_dir}"), soft_wrap=True)


def _size(parameter: nn.Parameter) -> int:
    """Its elements, also where a process holds but a part of them, or several of them in one byte."""
    packed = getattr(parameter, "quant_state", None)
    return int(getattr(parameter, "ds_numel", parameter.numel() if packed is None else packed.shape.numel()))


def _losses(progress: Progress) -> Table:
    """Of each task: at the first validation, which may be long after the first step, at its best, and the change."""
    headings = ("task", f"step {progress.validations[0][0]}", "best", "at step", "change")
    shown = table(*headings, title="validation loss of each task")
    for task in progress.tasks:
        first, best = progress.first(task), progress.best(task)
        assert best is not None, "a task that was validated has a best"
        shown.add_row(task, f"{first:.4f}", f"{best[1]:.4f}", str(best[0]), f"{best[1] - first:+.4f}")
    return shown


def _answers(before: Mapping[str, Any], after: Mapping[str, Any]) -> Table:
    shown = table("", "", texts=(0, 1), box=box.ROUNDED, title=before["task"], show_header=False, show_lines=True)
    rows = {
        "prompt": before["prompt"],
        f"step {before['step']}": before["answer"],
        f"step {after['step']}": after["answer"],
        "reference": before["reference"],
    }
    for name, text in rows.items():
        shown.add_row(name, _shortened(text))
    return shown


def _shortened(text: str) -> str:
    lines = text.strip().splitlines()
    return "\n".join(lines[:LINES] + ["…"] * (len(lines) > LINES))
