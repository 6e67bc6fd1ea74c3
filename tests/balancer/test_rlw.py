"""Random loss weighting is a function of seed and step."""

import numpy as np
import torch
from loss_series import started

from mftcoder.balancer.rlw import RLW

COUNTS = torch.ones(5, dtype=torch.float64)


def test_the_draw_depends_on_seed_and_step_alone() -> None:
    first, second = started(RLW(seed=1), 5), started(RLW(seed=1), 5)
    forwards = [first.weights(step, COUNTS) for step in range(10)]
    backwards = [second.weights(step, COUNTS) for step in reversed(range(10))]
    assert torch.equal(torch.stack(forwards), torch.stack(backwards[::-1]))
    assert not torch.equal(forwards[0], forwards[1])
    assert not torch.equal(forwards[0], started(RLW(seed=2), 5).weights(0, COUNTS))


def test_the_logits_are_standard_normal() -> None:
    """A softmax hides only the mean of its logits: those left over have variance 1 - 1/5."""
    balancer = RLW(seed=0)
    logs = np.stack([balancer.weights(step, COUNTS).log().numpy() for step in range(4000)])
    logits = logs - logs.mean(axis=1, keepdims=True)
    assert abs(logits.mean()) < 1e-12
    assert abs(logits.var() - 0.8) < 0.03
    assert abs((logits**4).mean() / logits.var() ** 2 - 3) < 0.15
