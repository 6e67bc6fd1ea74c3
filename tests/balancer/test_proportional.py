"""Proportional gives the mean over all units."""

import torch

from mftcoder.balancer.proportional import Proportional


def test_the_loss_is_the_mean_over_all_tokens() -> None:
    tokens = [torch.rand(n, dtype=torch.float64) for n in (5, 1, 30)]
    counts = torch.tensor([len(t) for t in tokens], dtype=torch.float64)
    means = torch.stack([t.mean() for t in tokens])
    balancer = Proportional()
    balancer.start(["a", "b", "c"])
    weights = balancer.weights(0, counts)
    loss = (weights * means).sum() / weights.sum()
    torch.testing.assert_close(loss, torch.cat(tokens).mean(), rtol=1e-14, atol=0)


def test_counts_of_the_device_come_back_as_float64_on_the_cpu() -> None:
    weights = Proportional().weights(0, torch.tensor([3, 4]))
    assert weights.dtype == torch.float64
    assert weights.tolist() == [3.0, 4.0]
