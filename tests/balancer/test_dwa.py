"""DWA against its formula, written out in plain Python."""

import math

import numpy as np
import pytest
from loss_series import PLAIN, Series, drive, mean_one, simulate, started
from quadratics import assert_leaves_equal_tasks_alone, slowest

from mftcoder.balancer.dwa import DWA
from mftcoder.balancer.equal import Equal


def reference(series: Series, window: int, temperature: float) -> list[list[float]]:
    """w_i = K softmax_i(r_i / T), r_i = L_i(e - 1) / L_i(e - 2), L_i(e) the mean over the steps of window e."""
    steps, tasks = series.shape
    weights = []
    for t in range(steps):
        scores: list[float | None] = []
        for i in range(tasks):
            means = []  # (window, mean) of the windows that are over and held the task
            for e in range(t // window):
                losses = [x for x in series[e * window : (e + 1) * window, i] if not math.isnan(x)]
                if losses:
                    means.append((e, sum(losses) / len(losses)))
            if len(means) < 2:
                scores.append(None)
            else:
                (e2, before), (e1, after) = means[-2:]
                scores.append(math.exp((after / before) ** (1 / (e1 - e2)) / temperature))
        weights.append(mean_one(scores))
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize(("window", "temperature"), [(1, 2.0), (7, 1.0), (10, 0.1)])
def test_reference(tasks: int, window: int, temperature: float) -> None:
    series = simulate(tasks, 80, seed=tasks)
    series[20:50, 1] = np.nan  # away for whole windows
    seen = drive(started(DWA(temperature=temperature, window_steps=window, **PLAIN), tasks), series)
    np.testing.assert_allclose(seen, reference(series, window, temperature), rtol=1e-11)


def test_a_gap_does_not_make_a_task_look_faster() -> None:
    time = np.arange(60)[:, None]
    series = np.repeat(3.0 * 0.95**time, 2, axis=1)
    series[20:40, 1] = np.nan
    seen = drive(started(DWA(temperature=0.05, window_steps=10, **PLAIN), 2), series)
    np.testing.assert_allclose(seen, 1.0, rtol=1e-12)


def test_helps_the_slow_and_leaves_equals_alone() -> None:
    balancer = DWA(temperature=0.1, window_steps=5, **PLAIN)
    assert slowest(balancer, [4.0, 1.0, 0.25], 60) < 0.8 * slowest(Equal(), [4.0, 1.0, 0.25], 60)
    assert_leaves_equal_tasks_alone(DWA(temperature=0.1, window_steps=5, **PLAIN))


@pytest.mark.parametrize("bad", [{"temperature": 0.0}, {"window_steps": 0}])
def test_bad_values_are_refused(bad: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        DWA(**({"temperature": 2.0, "window_steps": 5} | PLAIN | bad))  # type: ignore[arg-type]
