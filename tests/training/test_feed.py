"""What the mixture promises to each step, where shares change and tasks run out."""

from __future__ import annotations

from math import inf

import numpy as np
import pytest
import torch
from memory_split import memory_split, natural, skewed

from mftcoder.core.coefficients import token_coefficients
from mftcoder.data.stream.micro_batches import MicroBatcher
from mftcoder.data.stream.sampler import Sampler
from mftcoder.data.stream.shares import Shares
from mftcoder.objective.sft import SFT
from mftcoder.training.feed import Feed

WEIGHTS = torch.tensor([1.0, 1.0], dtype=torch.float64)
CASES = {
    "a stage in the first epoch": ([(0.0, [0.9, 0.1]), (0.5, [0.1, 0.9])], [inf, inf]),
    "a stage after the first epoch": ([(0.0, [0.9, 0.1]), (1.1, [0.1, 0.9])], [inf, inf]),
    "a task that runs out": ([(0.0, [0.6, 0.4])], [inf, 0.6]),
}


class Rows:
    """Samples with nothing but targets, every second token."""

    def __init__(self, split) -> None:
        self.split = split

    def sample(self, task, index):
        return task, int(self.split.supervised(task)[index])


@pytest.mark.parametrize("reduction", ["token", "sample"])
@pytest.mark.parametrize("by_tokens", [True, False])
@pytest.mark.parametrize("one_per_pack", [False, True])
@pytest.mark.parametrize("case", CASES)
def test_the_mean_share_of_the_loss_is_the_weight_in_every_stage(tmp_path, case, one_per_pack, by_tokens, reduction):
    """Tasks of unlike lengths, equal weights: over each part of the run every task that has a share gets its own."""
    split = memory_split([skewed(0, 500, 60), skewed(1, 500, 30)], tmp_path)
    tokens = [split.num_tokens(t) for t in range(2)]
    samples = [split.num_samples(t) for t in range(2)]
    total = sum(tokens if by_tokens else samples)
    stages, capacity = CASES[case]
    shares = Shares([(at * total, own) for at, own in stages], [c * total for c in capacity])
    recipe = natural(
        split,
        shares=shares,
        epoch_size=float(total),
        one_per_pack=one_per_pack,
        tokens_per_sample=None if by_tokens else sum(tokens) / sum(samples),
    )
    sampler = Sampler(split, recipe, packs_per_step=8 if one_per_pack else 2, stratified=False)
    objective = SFT(reduction=reduction, normalization="expected", loss_kernel="fused")
    feed = Feed(sampler, MicroBatcher(padding_mode="pack", pad_id=0, rank=0, ranks=1), Rows(split), 1, objective)
    got: dict[tuple[bool, ...], list[torch.Tensor]] = {}
    while sampler.epoch < 2.5:
        micro_batches, expected = feed.take(), feed.expected()
        counts = torch.zeros(2, dtype=torch.float64)
        for task, targets in (sample for micro_batch in micro_batches for sample in micro_batch):
            counts[task] += targets if reduction == "token" else 1
        part = tuple(np.array(sampler.shares) > 0.5) + tuple(np.array(sampler.shares) > 0)
        got.setdefault(part, []).append(token_coefficients(WEIGHTS, counts, expected) * counts)
    for (*_, first, second), of_steps in got.items():
        wanted = [0.5 * first, 0.5 * second]
        assert torch.stack(of_steps).mean(0).tolist() == pytest.approx(wanted, abs=0.06), len(of_steps)
    assert len(got) == 2


def test_means_over_what_came_need_no_promise(tmp_path):
    split = memory_split([[9] * 20, [9] * 20], tmp_path)
    sampler = Sampler(split, natural(split), packs_per_step=2, stratified=False)
    objective = SFT(reduction="token", normalization="step", loss_kernel="fused")
    feed = Feed(sampler, MicroBatcher(padding_mode="pack", pad_id=0, rank=0, ranks=1), Rows(split), 1, objective)
    feed.take()
    assert feed.expected() is None
