"""When a run logs, validates and ends, as a function of its progress alone."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from mftcoder.core.progress import Progress
from mftcoder.training.schedule import Schedule
from mftcoder.training.settings import EvaluationSettings, StoppingSettings

SOME, NONE = torch.tensor([1.0, 0.0]), torch.zeros(2)


def schedule(*, evaluation_steps: float | None = 4, **stopping: Any) -> Schedule:
    evaluation = EvaluationSettings(
        log_interval=0.25,
        evaluation_steps=evaluation_steps,
        evaluation_samples=None,
        evaluate_first=False,
        per_device_eval_batch_size=1,
        diagnostics_steps=None,
    )
    settings = {
        "early_stopping": True,
        "early_stopping_stall_num": 2,
        "early_stopping_on": "mean",
        "freeze_stall_num": None,
        "frozen_weight": 0.0,
    }
    return Schedule(evaluation=evaluation, stopping=StoppingSettings(**(settings | stopping)), total_steps=10)


def at(step: int, *losses: dict[str, float]) -> Progress:
    return Progress(step=step, validations=[(n, found) for n, found in enumerate(losses)])


def test_a_fraction_of_the_run_is_an_interval():
    assert [step for step in range(1, 11) if schedule().logs(step)] == [2, 4, 6, 8, 10]


@pytest.mark.parametrize("every", [4, None])
def test_validation_comes_at_the_interval_and_after_the_last_step(every: int | None):
    due = [step for step in range(1, 11) if schedule(evaluation_steps=every).validates(at(step), data_left=True)]
    assert due == ([4, 8, 10] if every else [10])


def test_validation_comes_once_and_also_where_the_data_end():
    taken = Progress(step=4, validations=[(4, {"a": 1.0})])
    assert not schedule().validates(taken, data_left=True)
    assert schedule().validates(at(3), data_left=False)


def test_a_run_ends_with_its_steps_its_data_or_its_weights():
    assert schedule().end(at(9), SOME, data_left=True) is None
    assert "all steps" in str(schedule().end(at(10), SOME, data_left=True))
    assert "used up the data" in str(schedule().end(at(9), SOME, data_left=False))
    assert "no task has any weight" in str(schedule().end(at(9), NONE, data_left=True))


# a stalls for two validations, b for none, and their mean for one.
COURSE = ({"a": 1.0, "b": 3.0}, {"a": 1.1, "b": 2.0}, {"a": 1.2, "b": 1.95})


@pytest.mark.parametrize(
    ("on", "over"), [("any", True), ("all", False), ("mean", False), (["a"], True), (["b"], False), (["a", "b"], False)]
)
def test_what_early_stopping_watches_decides(on: str | list[str], over: bool):
    found = schedule(early_stopping_on=on).end(at(5, *COURSE), SOME, data_left=True)
    assert (found is not None and "stopped improving" in found) == over


def test_early_stopping_can_be_off():
    assert schedule(early_stopping=False, early_stopping_on="any").end(at(5, *COURSE), SOME, data_left=True) is None
