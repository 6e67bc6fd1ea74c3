"""Proportional gives the mean over all units."""

import torch

from mftcoder.balancer.proportional import Proportional
from mftcoder.core.coefficients import token_coefficients


def test_the_loss_is_the_mean_over_all_tokens() -> None:
    tokens = [torch.rand(n, dtype=torch.float64) for n in (5, 1, 30)]
    counts = torch.tensor([len(t) for t in tokens], dtype=torch.float64)
    means = torch.stack([t.mean() for t in tokens])
    balancer = Proportional()
    balancer.start(["a", "b", "c"])
    weights = balancer.weights(0, counts)
    loss = (weights * means).sum() / weights.sum()
    torch.testing.assert_close(loss, torch.cat(tokens).mean(), rtol=1e-14, atol=0)


def test_with_expected_counts_every_unit_counts_the_same_whatever_came() -> None:
    balancer, expected = Proportional(), torch.tensor([90.0, 10.0], dtype=torch.float64)
    balancer.start(["a", "b"])
    for units in ([80.0, 20.0], [100.0, 5.0]):
        each = token_coefficients(balancer.weights(0, expected), torch.tensor(units, dtype=torch.float64), expected)
        torch.testing.assert_close(each, torch.full((2,), 0.01, dtype=torch.float64), rtol=1e-14, atol=0)
