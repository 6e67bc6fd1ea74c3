"""Which steps are anomalies, what is written down of them, and what the plan makes of each."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from mftcoder.cli import config
from mftcoder.core.batch import TaskLosses
from mftcoder.core.errors import UserError
from mftcoder.engine.single import Single
from mftcoder.training.loop import BatchSize, Report
from mftcoder.training.monitoring.anomalies import Anomalies

SIZE = BatchSize(torch.ones(2), torch.ones(2), 1, 1)


def watch(run_dir: Path, **changes: Any) -> Anomalies:
    engine = Single(device="cpu", mixed_precision="no", num_processes=1)
    engine.start(seed=0)
    plan = config.build(config.load()["training"])
    return Anomalies(replace(plan, loss_spike_window=4, **changes), engine, ["add", "say"], run_dir)


def report(step: int, loss: float = 1.0, *, skipped: bool = False) -> Report:
    losses = TaskLosses(torch.tensor([loss, 0.0]), torch.tensor([1.0, 0.0]))
    norm = float("inf") if skipped else 0.5
    samples = [(0, 7), (1, 3), (0, 9)]
    return Report(step, loss, losses, torch.ones(2), SIZE, 0.1, norm, samples, skipped=skipped)


def lines(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "anomalies.jsonl").read_text().splitlines()]


@pytest.mark.parametrize(
    ("losses", "spikes"),
    [
        ([1, 1, 1, 1, 3.1], [5]),
        ([1, 1, 1, 3.1, 3.1], [5]),  # There are too few before step 4.
        ([1, 1, 1, 2.9, 2.9], []),
        ([1, 1, 1, 1, 9, 1, 9, 1], [5, 7]),  # A spike does not hide the next.
        ([1, 1, 1, 1, 9, 9, 9, 9, 9], [5, 6]),  # A loss that stays up is soon the rule.
        ([9, 8, 7, 6, 5, 4, 3], []),
    ],
)
def test_a_spike_stands_out_of_the_losses_before_it(tmp_path, losses, spikes):
    anomalies = watch(tmp_path)
    for step, loss in enumerate(losses, 1):
        assert anomalies.judge(report(step, loss)) == "proceed"
    found = [line["step"] for line in lines(tmp_path)] if (tmp_path / "anomalies.jsonl").exists() else []
    assert found == spikes


def test_what_led_to_it_is_written_down(tmp_path):
    watch(tmp_path, non_finite="skip").judge(report(3, float("nan"), skipped=True))
    assert lines(tmp_path) == [
        {
            "step": 3,
            "kind": "non_finite",
            "answer": "skip",
            "loss": "nan",
            "losses": {"add": "nan"},
            "grad_norm": "inf",
            "samples": {"add": [7, 9], "say": [3]},
        }
    ]


def test_the_plan_decides(tmp_path):
    bad = report(1, float("nan"), skipped=True)
    assert watch(tmp_path, non_finite="skip").judge(bad) == "proceed"
    assert watch(tmp_path, non_finite="rollback").judge(bad) == "roll_back"
    with pytest.raises(UserError, match=r"step 1: loss or gradient is not finite.*non_finite=skip goes on"):
        watch(tmp_path, non_finite="raise").judge(bad)
    for answer, verdict in (("log", "proceed"), ("rollback", "roll_back")):
        anomalies = watch(tmp_path, loss_spike=answer)
        verdicts = [anomalies.judge(report(n, 1 + 9 * (n == 5))) for n in range(1, 7)]
        assert verdicts == [*["proceed"] * 4, verdict, "proceed"]
    anomalies = watch(tmp_path, loss_spike="raise")
    anomalies.recent = [1.0] * 4
    with pytest.raises(UserError, match="step 5: the loss is far above those before"):
        anomalies.judge(report(5, 10))


@pytest.mark.parametrize("answer", ["skip", "rollback"])
def test_too_many_in_a_row_end_the_run(tmp_path, answer):
    anomalies = watch(tmp_path, non_finite=answer, anomaly_limit=2)
    for step in (3, 4):
        anomalies.judge(report(step, skipped=True))
    with pytest.raises(UserError, match=r"step 5: .*more than training\.anomaly_limit=2 in a row"):
        anomalies.judge(report(5, skipped=True))


def test_a_row_ends_only_beyond_its_last_step(tmp_path):
    """Where the run goes back, good steps come again before the bad one."""
    anomalies = watch(tmp_path, non_finite="rollback", anomaly_limit=2)
    for step, skipped in ((4, True), (3, False), (4, False)):
        anomalies.judge(report(step, skipped=skipped))
    assert anomalies.in_a_row == 1
    anomalies.judge(report(5))
    assert anomalies.in_a_row == 0


def test_the_state_goes_on(tmp_path):
    first, second = watch(tmp_path, non_finite="skip"), watch(tmp_path, non_finite="skip")
    for step in (1, 2, 3):
        first.judge(report(step, step, skipped=step == 2))
    second.load_state_dict(first.state_dict())
    assert (second.recent, second.in_a_row, second.furthest) == ([1, 3], 0, 2)
