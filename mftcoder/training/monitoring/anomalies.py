"""Steps that went wrong, a loss that is not finite or far above those before: noticed, written down and answered."""

from __future__ import annotations

import json
import logging
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any, Literal

from mftcoder.core.errors import UserError
from mftcoder.engine.base import Engine
from mftcoder.training.loop import Report
from mftcoder.training.settings import AnomalySettings

log = logging.getLogger(__name__)

FILE = "anomalies.jsonl"
Kind = Literal["non_finite", "loss_spike"]  # named after the keys that say what is done about them
Verdict = Literal["proceed", "roll_back"]
FOUND = {
    "non_finite": "loss or gradient is not finite; nothing was updated",
    "loss_spike": "the loss is far above those before",
}
REMEDY = {"non_finite": "skip", "loss_spike": "rollback"}


@dataclass
class Anomalies:
    """Judges each step; a part of the state. All ranks come to the same verdict.

    Args:
        settings: what is an anomaly, and what it leads to.
        engine: whose ranks share what led to one.
        tasks: names by id.
        run_dir: where anomalies.jsonl goes, one object a line: step, kind, answer, loss, losses by task, grad_norm, and
            rows of the samples by task.

    Attributes:
        recent: the last finite losses, a window that a spike has to stand out of: the median of a window is hardly
            moved by the spikes in it, and follows where a loss stays up.
        in_a_row: steps skipped or rolled back since the run last got past `furthest`.
        furthest: the latest step that failed.
    """

    settings: AnomalySettings
    engine: Engine
    tasks: Sequence[str]
    run_dir: Path
    recent: list[float] = field(default_factory=list, init=False)
    in_a_row: int = field(default=0, init=False)
    furthest: int = field(default=0, init=False)

    def judge(self, report: Report) -> Verdict:
        """Take a step into account and write it down if it is an anomaly; every rank must call it.

        Returns:
            roll_back where the run is to return to its last checkpoint, else proceed.

        Raises:
            UserError: the settings say to raise, or there were too many in a row.
        """
        kind = self._kind(report)
        if kind is None:
            self.in_a_row = self.in_a_row if report.step <= self.furthest else 0
            return "proceed"
        answer = str(getattr(self.settings, kind))
        self._write_down(report, kind, answer)
        message = f"step {report.step}: {FOUND[kind]}; see {self.run_dir / FILE}"
        if answer == "raise":
            raise UserError(f"{message}. training.{kind}={REMEDY[kind]} goes on without such steps")
        if answer != "log":
            self.furthest = max(self.furthest, report.step)
            self.in_a_row += 1
        if self.in_a_row > self.settings.anomaly_limit:
            limit = f"training.anomaly_limit={self.settings.anomaly_limit}"
            raise UserError(f"{message}. These are more than {limit} in a row")
        log.warning("%s", message)
        return "roll_back" if answer == "rollback" else "proceed"

    def state_dict(self) -> dict[str, Any]:
        """What later judgements depend on."""
        return {"recent": self.recent, "in_a_row": self.in_a_row, "furthest": self.furthest}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from there."""
        vars(self).update(state)

    def _kind(self, report: Report) -> Kind | None:
        if report.skipped:
            return "non_finite"
        size, before = self.settings.loss_spike_window, self.recent
        self.recent = [*before, report.loss][-size:]
        spikes = len(before) == size and report.loss > self.settings.loss_spike_factor * median(before)
        return "loss_spike" if spikes else None

    def _write_down(self, report: Report, kind: Kind, answer: str) -> None:
        """Keep what led to it, on rank 0."""
        taken = self.engine.gather(report.samples)
        if self.engine.rank > 0:
            return
        rows = defaultdict(list)
        for task, row in sorted({sample for samples in taken for sample in samples}):
            rows[self.tasks[task]].append(row)
        means = zip(self.tasks, report.losses.mean.tolist(), report.losses.present.tolist(), strict=True)
        line = {
            "step": report.step,
            "kind": kind,
            "answer": answer,
            "loss": _plain(report.loss),
            "losses": {task: _plain(mean) for task, mean, present in means if present},
            "grad_norm": _plain(report.grad_norm),
            "samples": rows,
        }
        with (self.run_dir / FILE).open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, allow_nan=False) + "\n")


def _plain(value: float) -> float | str:
    """A number, in words where JSON has none for it."""
    return value if math.isfinite(value) else str(value)
