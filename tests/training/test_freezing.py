"""Tasks that have stopped improving keep the share of their weight that is asked for, and never thaw."""

from __future__ import annotations

import pytest

from mftcoder.core.progress import Progress
from mftcoder.training.freezing import Freezing
from mftcoder.training.settings import StoppingSettings

TASKS = ("a", "b")


def freezing(progress: Progress, *, stall_num: int | None = 2, frozen_weight: float = 0.25) -> Freezing:
    settings = StoppingSettings(
        early_stopping=True,
        early_stopping_stall_num=5,
        early_stopping_on="mean",
        freeze_stall_num=stall_num,
        frozen_weight=frozen_weight,
    )
    return Freezing(tasks=TASKS, weights=(2.0, 3.0), settings=settings, progress=progress)


def validated(*losses_of_b: float) -> Progress:
    """Validations in which a improves all the time, and b has these losses."""
    losses = [(step, {"a": 1.0 - step / 100, "b": b}) for step, b in enumerate(losses_of_b)]
    return Progress(validations=losses)


@pytest.mark.parametrize(("losses", "frozen"), [((1.0, 1.1), []), ((1.0, 1.1, 1.2), ["b"]), ((1.0, 1.1, 0.9), [])])
def test_a_task_is_frozen_after_as_many_validations_without_a_new_best(losses: tuple[float, ...], frozen: list[str]):
    run = freezing(validated(*losses))
    assert run.freeze() == frozen
    assert run.priors().tolist() == [2.0, 0.75 if frozen else 3.0]


def test_a_frozen_task_is_told_once_and_stays_frozen_when_it_improves():
    progress = validated(1.0, 1.1, 1.2)
    run = freezing(progress, frozen_weight=0.0)
    assert run.freeze() == ["b"]
    progress.validations.append((3, {"a": 0.5, "b": 0.1}))
    assert run.freeze() == []
    assert run.priors().tolist() == [2.0, 0.0]


def test_without_a_limit_nothing_is_ever_frozen():
    run = freezing(validated(1.0, 1.1, 1.2, 1.3), stall_num=None)
    assert run.freeze() == []
    assert run.priors().tolist() == [2.0, 3.0]
