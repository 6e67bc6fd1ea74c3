"""The names and values of metrics: what is absent has no key, and what is NaN is not absent."""

from __future__ import annotations

import json
import math
import re

import pytest
import torch

from mftcoder.core.batch import TaskLosses
from mftcoder.core.coefficients import EffectiveWeights
from mftcoder.core.progress import Progress
from mftcoder.training.loop import BatchSize, Report
from mftcoder.training.monitoring import metrics as metric_names

TASKS = ["add", "gone", "say"]
ALL = [True, True, True]
NAN = math.nan


def losses(*totals: float, counts: tuple[float, ...] = (2, 0, 2)) -> TaskLosses:
    return TaskLosses(torch.tensor(totals).double(), torch.tensor(counts).double())


def test_a_task_without_a_sample_has_no_key():
    metrics = metric_names.valid_metrics(losses(4, 0, 2), TASKS, ALL)
    assert metrics == {"valid/loss": 1.5, "valid/loss/add": 2.0, "valid/loss/say": 1.0}
    assert metric_names.task_losses(losses(4, 0, 2), TASKS, ALL) == {"add": 2.0, "say": 1.0}


def test_without_any_sample_there_is_nothing_to_tell():
    nothing = losses(0, 0, 0, counts=(0, 0, 0))
    assert metric_names.valid_metrics(nothing, TASKS, ALL) == {}
    assert metric_names.task_losses(nothing, TASKS, ALL) == {}


def test_a_loss_that_is_nan_is_shown_and_makes_the_mean_nan():
    metrics = metric_names.valid_metrics(losses(4, 0, NAN), TASKS, ALL)
    assert metrics.keys() == {"valid/loss", "valid/loss/add", "valid/loss/say"}
    assert math.isnan(metrics["valid/loss"])
    assert math.isnan(metrics["valid/loss/say"])


@pytest.mark.parametrize("bad", [(4, 0, NAN), (NAN, 0, NAN), (4, 0, math.inf)])
def test_nothing_is_worse_than_nan(bad):
    """Without `say` the second validation would have the lower mean."""
    progress = Progress()
    for step, seen in enumerate([losses(6, 0, 8), losses(*bad)]):
        progress.validations.append((step, metric_names.task_losses(seen, TASKS, ALL)))
    assert progress.best() == (0, 3.5)
    assert progress.best("say") == (0, 4.0)
    assert (progress.stalls(), progress.stalls("say")) == (1, 1)
    assert progress.notable()["best"] == 0
    assert progress.tasks == ["add", "say"]


def test_the_metrics_of_a_step_are_those_of_the_tasks_that_came():
    effective = EffectiveWeights(3)
    effective.add(torch.ones(3).double(), torch.tensor([0.5, 0.25, 0.25]).double())
    tokens = torch.tensor([6, 0, 3]).double()
    report = Report(
        step=1,
        loss=NAN,
        losses=losses(4, 0, NAN),
        weights=torch.tensor([0.5, 0, 0.5]).double(),
        size=BatchSize(torch.tensor([2, 0, 2]).double(), tokens, 4, 12),
        learning_rate=0.1,
        grad_norm=1.0,
        samples=[],
        gradients=torch.tensor([[3.0, 4.0], [0.0, 0.0], [NAN, NAN]]),
        seconds={"data": 2.0},
    )
    metrics = metric_names.train_metrics(report, effective, TASKS, torch.device("cpu"))
    assert (metrics["train/loss/add"], metrics["train/weight/say"], metrics["train/tokens/add"]) == (2.0, 0.5, 6.0)
    assert math.isnan(metrics["train/loss/say"])
    assert metrics["train/gradient_norm/add"] == 5.0
    assert math.isnan(metrics["train/gradient_norm/say"])
    assert [name for name in metrics if "gone" in name] == ["train/effective_weight/gone"]
    assert (metrics["padding_fraction"], metrics["tokens_per_second"]) == (0.25, 4.5)


def test_all_names_are_in_the_list_of_names(whole):
    """Those of a real run, with <task> in place of a task's own name."""
    run_dir, _ = whole
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    names = {name.replace("/add", "/<task>") for line in lines for name in line}
    names = {name for name in names if not name.endswith(("/double", "/say")) and "seconds/" not in name}
    words = re.split(r"[ ,:;\n]+", str(metric_names.__doc__))
    assert len(names) > 10
    assert names - {*words} == set()


def test_a_task_without_a_share_counts_in_no_mean():
    trained = [True, True, False]
    metrics = metric_names.valid_metrics(losses(4, 0, 1), TASKS, trained)
    assert metrics == {"valid/loss": 2.0, "valid/loss/add": 2.0, "valid/loss/say": 0.5}
    assert metric_names.task_losses(losses(4, 0, 1), TASKS, trained) == {"add": 2.0}
