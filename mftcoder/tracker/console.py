"""Progress on the terminal: a live bar, or plain lines elsewhere, and a table after each evaluation."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mftcoder.system.terminal import in_sweep, table, terminal
from mftcoder.tracker.base import Metrics, Tracker

VALID = "valid/loss/"
TRAIN = "train/loss/"


class Console(Tracker):
    """Shows step, loss, learning rate, tokens a second, time left and the losses of the tasks.

    A dash stands for the loss of a task that was absent from the step. The first losses of the tables are those of the
    first evaluation that this process saw, as their heading says. A job of a sweep says one line, at its end.

    Args:
        style: auto takes the bar on a terminal and lines elsewhere.
        max_tasks: of so many tasks the losses are shown beside the bar.
    """

    def __init__(self, *, style: Literal["auto", "bar", "lines"], max_tasks: int) -> None:
        self.style = style
        self.max_tasks = max_tasks

    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Say what runs and where; draw the empty bar."""
        self._terminal = terminal()
        self._name, self._tasks, self._total = name, tasks, total_steps
        self._clock = _Clock(total_steps)
        self._latest: dict[str, float] = {}
        self._doing = ""
        self._evaluations: list[dict[str, float]] = []
        self._live: Live | None = None
        self._only_line = f"{run_dir.name}: " if in_sweep() else ""
        plural = "task" if len(tasks) == 1 else "tasks"
        self._print(Text(f"{name}: {len(tasks)} {plural}, {total_steps} steps, {run_dir}"))
        if self.style == "bar" or (self.style == "auto" and self._terminal.is_terminal):
            self._live = Live(get_renderable=self._bar, console=self._terminal, refresh_per_second=4, transient=True)
            self._live.start()

    def resume(self, step: int) -> None:
        """Count from there."""
        self._clock.begin(step)
        self._print(Text(f"{self._name}: continuing after step {step}"))

    def doing(self, what: str) -> None:
        """Say it beside the bar."""
        self._doing = what

    def log(self, metrics: Metrics) -> None:
        """Move the bar or print a line; with an evaluation in it, print the table."""
        self._doing = ""
        if "train/loss" in metrics:
            self._latest = dict(metrics)  # Not added up: a loss of a step long past would look like one of this.
        self._clock.tick(int(metrics["step"]))
        if self._live is None and "train/loss" in metrics:
            self._print(Text(f"{self._numbers()}  {self._losses()}"))
        if "valid/loss" in metrics:
            self._evaluations.append(dict(metrics))
            self._print(self._table())

    def finish(self) -> None:
        """Leave the last state of the bar on the screen."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            if self._latest:
                self._print(Text(f"{self._numbers()}  {self._losses()}"))
        if self._only_line:
            said, self._only_line = f"{self._only_line}{self._outcome()}", ""
            self._print(Text(said))

    def _outcome(self) -> str:
        """What came of a job, in a line."""
        seen = [evaluation["valid/loss"] for evaluation in self._evaluations]
        fell = f"  validation {seen[0]:.4f} → {min(seen, key=_nan_last):.4f}" if seen else ""
        return f"{self._numbers()}{fell}"

    def _bar(self) -> Group:
        row = Table.grid(padding=(0, 1))
        bar = ProgressBar(total=self._total, completed=self._clock.step, width=30)
        row.add_row(Text(self._name), bar, Text(self._numbers()), Text(self._doing, style="italic"))
        return Group(row, Text(self._losses(), style="dim"))

    def _numbers(self) -> str:
        parts = [f"{self._clock.step}/{self._total}"]
        for name, form in (("train/loss", "loss {:.4f}"), ("learning_rate", "lr {:.2e}")):
            if name in self._latest:
                parts.append(form.format(self._latest[name]))
        if "tokens_per_second" in self._latest:
            parts.append(f"{self._latest['tokens_per_second']:,.0f} tokens/s")
        if left := self._clock.left():
            parts.append(f"{left} left")
        return "  ".join(parts)

    def _losses(self) -> str:
        shown = self._tasks[: self.max_tasks] if self._latest else []
        return " · ".join(f"{task} {self._form(TRAIN + task, digits=3)}" for task in shown)

    def _table(self) -> Table:
        """Of all tasks: effective weight, last training loss, and the validation loss at first, at its best and now."""
        first, now = self._evaluations[0], self._evaluations[-1]
        if len(self._evaluations) == 1 and not self._latest:
            return self._first_table(first)
        headings = ("task", "effective weight", "train", f"step {first['step']:.0f}", "best", "now", "change")
        shown = table(*headings, title=f"validation after step {now['step']:.0f}")
        shown.columns[0].no_wrap = True
        for task in self._tasks:
            if VALID + task in now:
                latest = self._form(f"train/effective_weight/{task}"), self._form(TRAIN + task)
                shown.add_row(task, *latest, *self._cells(VALID + task))
        shown.add_section()
        shown.add_row("mean of tasks", "", self._form("train/loss"), *self._cells("valid/loss"))
        return shown

    def _first_table(self, first: Mapping[str, float]) -> Table:
        """Before anything was trained there is nothing to compare with."""
        shown = table("task", "loss", title=f"validation after step {first['step']:.0f}")
        for task in self._tasks:
            if VALID + task in first:
                shown.add_row(task, f"{first[VALID + task]:.4f}")
        shown.add_section()
        shown.add_row("mean of tasks", f"{first['valid/loss']:.4f}")
        return shown

    def _cells(self, name: str) -> list[str]:
        """One loss at the first evaluation, at its best, now, and the change from first to now."""
        seen = [evaluation[name] for evaluation in self._evaluations if name in evaluation]
        first, now = self._evaluations[0].get(name), seen[-1]
        change = "" if first is None or len(self._evaluations) == 1 else f"{now - first:+.4f}"
        return ["" if first is None else f"{first:.4f}", f"{min(seen, key=_nan_last):.4f}", f"{now:.4f}", change]

    def _form(self, name: str, *, digits: int = 4) -> str:
        """A metric of the last training step that was logged: a dash where it has none, nothing before the first."""
        if name in self._latest:
            return f"{self._latest[name]:.{digits}f}"
        return "–" if self._latest else ""

    def _print(self, what: Text | Table) -> None:
        if self._only_line:
            return
        self._terminal.print(what, soft_wrap=isinstance(what, Text), highlight=False)
        sys.stdout.flush()


def _nan_last(loss: float) -> float:
    return math.inf if math.isnan(loss) else loss


class _Clock:
    """Estimates the time left from the pace since this process began."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.begin(0)

    def begin(self, step: int) -> None:
        """Nothing is known of the pace yet."""
        self.step = self.first = step
        self.started: float | None = None

    def tick(self, step: int) -> None:
        """Step `step` is done."""
        self.step = step
        if self.started is None and step > self.first:
            # The first step warms caches and kernels up: it would spoil the estimate.
            self.first, self.started = step, time.monotonic()

    def left(self) -> str:
        """h:mm:ss, or nothing before the second step and after the last."""
        if self.started is None or not self.first < self.step < self.total:
            return ""
        pace = (time.monotonic() - self.started) / (self.step - self.first)
        seconds = round(pace * (self.total - self.step))
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
