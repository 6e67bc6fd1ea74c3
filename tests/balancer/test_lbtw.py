"""LBTW against its formula, written out in plain Python."""

import numpy as np
import pytest
from loss_series import PLAIN, Series, drive, mean_one, simulate, started
from quadratics import assert_leaves_equal_tasks_alone, descend, slowest, triangle

from mftcoder.balancer.equal import Equal
from mftcoder.balancer.lbtw import LBTW


def reference(series: Series, alpha: float, reset: int | None) -> list[list[float]]:
    """w_i = (L_i(t) / L_i(0)) ** alpha, L_i(0) the first loss of the period."""
    first: dict[int, tuple[int, float]] = {}
    ratio: list[float | None] = [None] * series.shape[1]
    weights = []
    for t, row in enumerate(series):
        weights.append(mean_one(ratio))
        for i, loss in enumerate(row):
            if np.isnan(loss):
                continue
            period = t // reset if reset else 0
            if i not in first or first[i][0] != period:
                first[i] = (period, loss)
            ratio[i] = (loss / first[i][1]) ** alpha
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize("reset", [None, 17])
@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_reference(tasks: int, reset: int | None, alpha: float) -> None:
    series = simulate(tasks, 60, seed=tasks)
    series[:5, 0] = np.nan
    seen = drive(started(LBTW(alpha=alpha, reset_steps=reset, **PLAIN), tasks), series)
    np.testing.assert_allclose(seen, reference(series, alpha, reset), rtol=1e-12)


def test_alpha_0_is_equal() -> None:
    seen = drive(started(LBTW(alpha=0.0, reset_steps=None, **PLAIN), 3), simulate(3, 20))
    np.testing.assert_allclose(seen, 1.0)


def test_a_bad_reset_is_refused() -> None:
    with pytest.raises(ValueError, match="reset_steps: 0"):
        LBTW(alpha=0.5, reset_steps=0, **PLAIN)


def test_helps_the_slow_and_leaves_equals_alone() -> None:
    assert slowest(LBTW(alpha=1.0, reset_steps=None, **PLAIN), [4.0, 1.0, 0.25], 60) < 0.7 * slowest(
        Equal(), [4.0, 1.0, 0.25], 60
    )
    assert_leaves_equal_tasks_alone(LBTW(alpha=1.0, reset_steps=None, **PLAIN))


def test_does_not_help_a_task_that_is_only_small() -> None:
    """LBTW looks at progress alone: a task of small scale that goes nowhere gets a little more, not its due."""
    balanced, _ = descend(
        LBTW(alpha=0.5, reset_steps=None, **PLAIN), triangle([100.0, 1.0, 0.1]), [0.0, 0.0], 0.02, 900
    )
    assert balanced.norm() > 0.9
