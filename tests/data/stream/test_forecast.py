"""What a run will be like is what it then is."""

from __future__ import annotations

import pytest
from memory_split import memory_split, natural

from mftcoder.data.stream.forecast import forecast
from mftcoder.data.stream.sampler import Sampler


def sampler(split, **changes):
    return Sampler(split, natural(split, **changes), packs_per_step=1, stratified=False)


def test_a_rare_task_comes_to_less_than_its_weight(tmp_path):
    """One sample a step: nine of ten steps are wholly of the first task, whatever the weights."""
    split = memory_split([[10] * 90, [10] * 10], tmp_path)
    ahead = forecast(sampler(split, one_per_pack=True), split, [1.0, 1.0])
    assert ahead.steps_per_epoch == 100
    assert ahead.tokens_per_step == 10
    assert ahead.shares == pytest.approx([0.9, 0.1])
    assert ahead.effective_weights == pytest.approx([0.9, 0.1])


def test_tasks_that_are_always_there_come_to_their_weights(tmp_path):
    split = memory_split([[30] * 60, [30] * 60], tmp_path)
    ahead = forecast(sampler(split), split, [3.0, 1.0])
    assert ahead.effective_weights == pytest.approx([0.75, 0.25])


def test_a_task_of_no_weight_takes_no_part(tmp_path):
    split = memory_split([[10] * 9, [10] * 9], tmp_path)
    ahead = forecast(sampler(split, one_per_pack=True), split, [1.0, 0.0])
    assert ahead.effective_weights[1] == 0
