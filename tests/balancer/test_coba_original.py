"""CoBa as released, against its computation written out step by step."""

import numpy as np
import pytest
from loss_series import PLAIN, Series, drive, simulate, started

from mftcoder.balancer.coba_original import CoBaOriginal
from mftcoder.core.errors import UserError


def original(warmup: int, history: int, interval: int = 1, tau: float = 5.0) -> CoBaOriginal:
    return CoBaOriginal(
        coba_warmup_steps=warmup,
        coba_history_length=history,
        coba_tau=tau,
        coba_update_interval=interval,
        coba_sample_valid_num=1,
        **PLAIN,
    )


def fit(x: Series, y: Series) -> float:
    """The released code's line: zeros are dropped from y, and x is cut to the length that is left."""
    y = y[y != 0]
    x = x[: len(y)]
    if len(y) < 2:
        return 0.0
    design = np.stack([x, np.ones(len(x))], axis=1)
    return float(np.linalg.solve(design.T @ design, design.T @ y)[0])


def softmax(x: Series) -> Series:
    e = np.exp(x - x.max())
    return e / e.sum()


def relative(x: Series) -> Series:
    """len(x) x / sum|x|; 0 where the released code divides 0 by 0, having too few probes of a task."""
    return len(x) * x / (np.abs(x).sum() or 1.0)


def reference(series: Series, warmup: int, history: int, interval: int, tau: float) -> list[Series]:
    """c completed steps; H [K, probes] of loss ratios with 0 for a missing task; S, D the slopes since the warm-up."""
    tasks = series.shape[1]
    begin = np.where(np.isnan(series[-1]), 1.0, series[-1])
    h, s, d = np.zeros((tasks, 0)), np.zeros((tasks, 0)), np.zeros(0)
    w, weights = np.ones(tasks), []
    for c in range(len(series)):
        if c % interval == 0 and c >= 2 * interval:
            h = np.append(h, np.nan_to_num(series[c - 1] / begin, nan=0.0)[:, None], axis=1)
        if c % interval == 0 and c >= warmup:
            start = max(0, c // interval - history)
            x = np.arange(start, c)
            slopes = np.array([fit(x, h[i][-len(x) :]) for i in range(tasks)])
            top = fit(x, h[:, -len(x) :].max(axis=0))
            s, d = np.append(s, slopes[:, None], axis=1), np.append(d, top)
            rcs = softmax(relative(slopes))
            acs = softmax(np.array([-relative(recent)[-1] for recent in s[:, start:]]))
            df = softmax(-relative(d) * tau)[-1] * len(d)
            w = softmax((df * rcs + (1 - df) * acs) * tasks)
            least = 1 / (tasks * 10)
            if (w < least).any():
                w = w * (1 - least * tasks) + least
        weights.append(w / w.mean())
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize(
    ("warmup", "history", "interval"), [(10, 20, 1), (20, 20, 1), (3, 200, 1), (15, 10, 5), (9, 6, 3)]
)
def test_reference(tasks: int, warmup: int, history: int, interval: int) -> None:
    series = simulate(tasks, 80, seed=tasks)
    series[-1] = simulate(tasks, 2, seed=tasks, absent=0.0)[0]
    seen = drive(started(original(warmup, history, interval), tasks), series)
    np.testing.assert_allclose(seen, reference(series, warmup, history, interval, 5.0), rtol=1e-8)


def test_time_is_compressed_where_a_task_is_missing() -> None:
    """The defect that balancer=coba does not have: the gapped twin looks five times as steep."""
    line = np.linspace(1.0, 0.5, 60)[:, None]
    series = np.repeat(line, 2, axis=1)
    series[np.arange(60) % 5 != 0, 1] = np.nan
    series[-1] = 1.0
    balancer = started(original(20, 50), 2)
    drive(balancer, series)
    ratio = float(balancer.slopes[-2, 1] / balancer.slopes[-2, 0])
    assert ratio > 3


def test_all_present_and_one_pace_is_equal() -> None:
    series = np.repeat(np.linspace(1.0, 0.5, 40)[:, None], 3, axis=1)
    np.testing.assert_allclose(drive(started(original(5, 10), 3), series), 1.0)


@pytest.mark.parametrize(("warmup", "history", "interval"), [(2, 10, 1), (10, 5, 1), (10, 20, 4), (4, 20, 2)])
def test_lengths_that_crash_the_released_code_are_refused(warmup: int, history: int, interval: int) -> None:
    with pytest.raises(UserError, match=f"coba_warmup_steps: {warmup}"):
        started(original(warmup, history, interval), 2)
