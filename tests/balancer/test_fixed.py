"""Fixed gives what the user asked for, or says all that is wrong with it."""

from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from pydantic import TypeAdapter

from mftcoder.balancer.fixed import Fixed, Stage, TaskWeights
from mftcoder.core.errors import UserError

TASKS = ["code", "tests", "docs"]
COUNTS = torch.ones(3, dtype=torch.float64)


def started(task_weights: Any) -> Fixed:
    balancer = Fixed(task_weights=task_weights)
    balancer.start(TASKS)
    return balancer


@pytest.mark.parametrize(
    ("task_weights", "expected"),
    [
        ({"docs": 3, "code": 1, "tests": 2.5}, [1.0, 2.5, 3.0]),
        ([1, 2, 0], [1.0, 2.0, 0.0]),
        (None, [1.0, 1.0, 1.0]),
    ],
)
def test_weights_by_name_and_in_order(task_weights: Any, expected: list[float]) -> None:
    for step in (0, 10**6):
        assert started(task_weights).weights(step, COUNTS).tolist() == expected


def test_stages_take_turns() -> None:
    balancer = started(
        [
            {"from_step": 0, "weights": [1, 1, 1]},
            {"from_step": 3, "weights": {"code": 5, "tests": 0, "docs": 1}},
            {"from_step": 4, "weights": [0, 0, 1]},
        ]
    )
    seen = [balancer.weights(step, COUNTS).tolist() for step in range(6)]
    assert seen == [[1, 1, 1]] * 3 + [[5, 0, 1]] + [[0, 0, 1]] * 2


def test_all_faults_come_in_one_message() -> None:
    with pytest.raises(UserError) as error:
        started(
            [
                {"from_step": 5, "weights": {"code": 1, "test": 1}},
                {"from_step": 5, "weights": [1, 2]},
                {"from_step": 9, "weights": [1, -1, float("nan")]},
            ]
        )
    assert str(error.value).splitlines() == [
        "balancer.task_weights: from_step [5, 5, 9]: stages begin at 0 and each begins after the one before it",
        "balancer.task_weights[0]: no weight for tests, docs",
        "balancer.task_weights[0]: no task named test; the tasks are code, tests, docs",
        "balancer.task_weights[1]: 2 weights for 3 tasks (code, tests, docs)",
        "balancer.task_weights[2]: [1, -1, nan]: weights are numbers from 0, and not all 0",
    ]


@pytest.mark.parametrize("task_weights", [[], [0, 0, 0], {}])
def test_weights_that_train_nothing_are_refused(task_weights: Any) -> None:
    with pytest.raises(UserError, match=r"balancer\.task_weights"):
        started(task_weights)


@pytest.mark.parametrize("example", [{"code": 2, "tests": 1}, [2, 1], [{"from_step": 0, "weights": {"code": 2}}], None])
def test_the_annotation_admits_every_documented_form(example: Any) -> None:
    TypeAdapter(TaskWeights | list[Stage] | None).validate_python(example)


def test_the_documented_stages_are_valid_yaml() -> None:
    text = (Path(__file__).parents[2] / "conf/balancer/fixed.yaml").read_text()
    stages = text[text.index("[{") : text.index("}}]") + 3]
    stages_given = OmegaConf.to_container(OmegaConf.create(f"task_weights: {stages}"))
    balancer = Fixed(**stages_given)  # type: ignore[arg-type]
    balancer.start(["code", "tests"])
    assert balancer.weights(499, COUNTS[:2]).tolist() == [2.0, 1.0]
    assert balancer.weights(500, COUNTS[:2]).tolist() == [1.0, 1.0]
