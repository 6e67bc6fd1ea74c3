"""CoBa against the paper's formulas, written out in plain Python."""

import math

import numpy as np
import pytest
from loss_series import PLAIN, Series, drive, losses_of, mean_one, simulate, started
from quadratics import assert_leaves_equal_tasks_alone, slowest

from mftcoder.balancer.coba import CoBa
from mftcoder.balancer.equal import Equal


def coba(warmup: int = 10, history: int = 20, tau: float = 5.0, interval: int = 1, samples: int = 1, **bounds) -> CoBa:
    return CoBa(
        coba_warmup_steps=warmup,
        coba_history_length=history,
        coba_tau=tau,
        coba_update_interval=interval,
        coba_sample_valid_num=samples,
        **(PLAIN | bounds),
    )


def slope(points: list[tuple[int, float]]) -> float | None:
    """Ordinary least squares; None for fewer than two points."""
    if len(points) < 2:
        return None
    return float(np.polynomial.Polynomial.fit(*zip(*points, strict=True), deg=1).convert().coef[1])


def softmax(scores: dict[int, float]) -> dict[int, float]:
    total = sum(math.exp(s) for s in scores.values())
    return {i: math.exp(s) / total for i, s in scores.items()}


def reference(series: Series, warmup: int, history: int, tau: float, interval: int) -> list[list[float]]:
    """RCS, ACS and DF as printed; a task that was not probed is left out of each sum and softmax."""
    tasks = series.shape[1]
    probes: list[tuple[int, dict[int, float]]] = []
    first: dict[int, float] = {}
    slopes: list[tuple[int, dict[int, float]]] = []
    largest: list[float] = []
    now, weights = [1.0] * tasks, []

    def probe(step: int) -> list[float]:
        row = {i: x for i, x in enumerate(series[step]) if not math.isnan(x)}
        for i, x in row.items():
            first.setdefault(i, x)
        probes.append((step, {i: x / first[i] for i, x in row.items()}))
        window = [(t, r) for t, r in probes if t > step - history]
        fits = {i: slope([(t, r[i]) for t, r in window if i in r]) for i in range(tasks)}
        a = {i: x for i, x in fits.items() if x is not None}
        if step + 1 < warmup or not a:
            return now
        slopes.append((step, a))
        largest.append(max(a.values()))
        rcs = softmax({i: len(a) * a[i] / sum(abs(x) for x in a.values()) for i in a})
        acs = {}
        for i, x in a.items():
            past = [abs(s[i]) for t, s in slopes if t > step - history and i in s]
            acs[i] = -len(past) * x / sum(past)
        acs = softmax(acs)
        n = len(largest)
        total = sum(abs(x) for x in largest)
        df = min(1.0, n * softmax({t: -tau * n * x / total for t, x in enumerate(largest)})[n - 1])
        return mean_one([df * rcs[i] + (1 - df) * acs[i] if i in a else None for i in range(tasks)])

    now = probe(-1)
    for step in range(len(series)):
        weights.append(now)
        if (step + 1) % interval == 0:
            now = probe(step)
    return weights


@pytest.mark.parametrize("tasks", [2, 5, 40])
@pytest.mark.parametrize(
    ("warmup", "history", "tau", "interval"),
    [(10, 20, 5.0, 1), (0, 2, 1.0, 1), (30, 5, 5.0, 1), (7, 200, 0.5, 1), (12, 31, 5.0, 5)],
    ids=["usual", "no warm-up", "window shorter than warm-up", "window longer than run", "every fifth step"],
)
def test_reference(tasks: int, warmup: int, history: int, tau: float, interval: int) -> None:
    series = simulate(tasks, 70, seed=tasks)
    series[20:40, 0] = np.nan
    seen = drive(started(coba(warmup, history, tau, interval), tasks), series)
    expected = reference(series, warmup, history, tau, interval)
    np.testing.assert_allclose(seen, expected, rtol=1e-8)
    assert np.ptp(seen) > 1e-2


def test_probes_before_the_first_step_and_after_every_interval() -> None:
    balancer = started(coba(interval=4, samples=7), 3)
    assert [step for step in range(-1, 12) if balancer.wants(step)] == [-1, 3, 7, 11]
    assert balancer.probe == "valid"
    assert balancer.probe_samples == 2
    assert started(coba(samples=7), 40).probe_samples == 1


def test_a_gap_in_time_does_not_steepen_a_slope() -> None:
    """The released code shows a task that is in one of five probes a slope five times too steep."""
    line = np.linspace(1.0, 0.5, 60)[:, None]
    full, gapped = np.repeat(line, 2, axis=1), np.repeat(line, 2, axis=1)
    gapped[np.arange(60) % 5 != 0, 1] = np.nan
    full[-1] = gapped[-1] = 1.0  # the probe before the first step
    weights = [drive(started(coba(warmup=35, history=30), 2), series) for series in (full, gapped)]
    np.testing.assert_allclose(weights[1], weights[0], rtol=1e-9)


def test_a_task_that_diverges_is_held_back() -> None:
    time = np.arange(120.0)
    falling = 0.3 + 0.7 * np.exp(-time / 60)
    turning = np.where(time < 60, 0.3 + 0.7 * np.exp(-time / 30), 0.3 + 0.7 * np.exp(-2.0) + 0.01 * (time - 60))
    weights = drive(started(coba(warmup=10, history=20), 2), np.stack([falling, turning], axis=1))
    assert weights[50, 0] > 1 > weights[50, 1], "while both converge, the slower counts more"
    assert weights[95:110, 1].max() < 0.7, "once it diverges, the divergent counts less"


def test_a_task_that_was_never_probed_gets_the_mean() -> None:
    series = simulate(3, 50, absent=0.0)
    series[:, 1] = np.nan
    weights = drive(started(coba(), 3), series)
    np.testing.assert_allclose(weights[:, 1], 1.0)
    assert np.ptp(weights[-1]) > 1e-3


def test_no_probe_at_all_leaves_equal_weights() -> None:
    weights = drive(started(coba(warmup=0), 3), np.full((30, 3), np.nan))
    np.testing.assert_array_equal(weights, 1.0)


def test_flat_losses_give_equal_weights() -> None:
    weights = drive(started(coba(warmup=0), 3), np.tile([1.0, 2.0, 3.0], (30, 1)))
    np.testing.assert_allclose(weights, 1.0)


def test_resumes_after_the_warm_up_with_its_first_losses() -> None:
    series = simulate(4, 60)
    balancer = started(coba(), 4)
    balancer.observe(-1, losses_of(series[-1]))
    for step in range(35):
        balancer.observe(step, losses_of(series[step]))
    resumed = started(coba(), 4)
    resumed.load_state_dict(balancer.state_dict())
    np.testing.assert_array_equal(drive(resumed, series, first=35), drive(started(coba(), 4), series)[35:])


def test_helps_the_slow_and_leaves_equals_alone() -> None:
    balancer = coba(warmup=5, history=10)
    assert slowest(balancer, [4.0, 1.0, 0.25], 80, lr=0.1) < 0.9 * slowest(Equal(), [4.0, 1.0, 0.25], 80, lr=0.1)
    assert_leaves_equal_tasks_alone(coba(warmup=5, history=10))


@pytest.mark.parametrize("bad", [{"history": 1}, {"history": 4, "interval": 4}, {"interval": 0}, {"samples": 0}])
def test_bad_values_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="coba_"):
        coba(**bad)
