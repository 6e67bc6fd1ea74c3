"""Temperature lies between proportional and equal."""

import math

import pytest
import torch
from loss_series import started

from mftcoder.balancer.temperature import Temperature
from mftcoder.core.batch import TaskLosses

COUNTS = [[70.0, 20.0, 10.0], [0.0, 25.0, 9.0], [64.0, 0.0, 0.0]]


@pytest.mark.parametrize("temperature", [0.5, 1.0, 2.0, 3.3, math.inf])
def test_running_totals_are_tempered(temperature: float) -> None:
    balancer = started(Temperature(temperature=temperature), 3)
    totals = [0.0, 0.0, 0.0]
    for step, counts in enumerate(COUNTS):
        totals = [n + c for n, c in zip(totals, counts, strict=True)]
        tensor = torch.tensor(counts, dtype=torch.float64)
        expected = [n ** (1 / temperature) for n in totals]
        torch.testing.assert_close(balancer.weights(step, tensor), torch.tensor(expected, dtype=torch.float64))
        assert balancer.wants(step)
        balancer.observe(step, TaskLosses(2.0 * tensor, tensor))


def test_long_run_weights_follow_the_shares_not_the_step() -> None:
    balancer = started(Temperature(temperature=2.0), 2)
    generator = torch.Generator().manual_seed(0)
    for step in range(400):
        counts = torch.bernoulli(torch.tensor([0.9, 0.1]).double().expand(16, 2), generator=generator).sum(0)
        weights = balancer.weights(step, counts)
        balancer.observe(step, TaskLosses(counts, counts))
    assert float(weights[0] / weights[1]) == pytest.approx(3.0, rel=0.1)


def test_a_temperature_of_0_is_refused() -> None:
    with pytest.raises(ValueError, match="temperature: 0"):
        Temperature(temperature=0.0)
