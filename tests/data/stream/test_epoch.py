from math import inf

import pytest
from memory_split import memory_split

from mftcoder.core.errors import UserError
from mftcoder.data.stream.epoch import Inventory, epoch_size, reweighted
from mftcoder.data.stream.shares import Shares

SPLIT = memory_split([[10] * 30, [50] * 2, []])  # 300 tokens of 30 samples, 100 of 2


def test_amounts_are_what_shares_are_of():
    by_tokens, by_samples = (Inventory(SPLIT, by_tokens=of) for of in (True, False))
    assert (by_tokens.amounts, by_tokens.tokens_per_sample) == ([300, 100, 0], None)
    assert (by_samples.amounts, by_samples.tokens_per_sample) == ([30, 2, 0], 400 / 32)


def test_shares_of_tokens_and_of_samples_are_one_thing_in_two_units():
    assert reweighted([0.75, 0.25], [1 / 10, 1 / 50]) == pytest.approx([30 / 32, 2 / 32])
    assert reweighted([30 / 32, 2 / 32], [10, 50]) == pytest.approx([0.75, 0.25])


@pytest.mark.parametrize("by_tokens", [True, False])
def test_stratified_tasks_have_a_sample_a_step(by_tokens):
    sizes = Inventory(SPLIT, by_tokens=by_tokens)
    natural = reweighted(sizes.amounts, [1, 1, 1])
    of_tokens = sizes.stratified(natural, samples=None, tokens=100.0)
    expected = [0.5, 0.5, 0] if by_tokens else [5 / 6, 1 / 6, 0]  # 50 tokens of each, which are 5 samples and 1
    assert of_tokens == pytest.approx(expected)
    of_samples = sizes.stratified(natural, samples=4, tokens=0.0)
    expected = [30 / 80, 50 / 80, 0] if by_tokens else [0.75, 0.25, 0]  # 3 samples of ten tokens and one of fifty
    assert of_samples == pytest.approx(expected)


def test_steps_that_are_large_enough_leave_the_shares_alone():
    assert Inventory(SPLIT, by_tokens=True).stratified([0.75, 0.25, 0.0], samples=None, tokens=1e6) == [0.75, 0.25, 0.0]


@pytest.mark.parametrize(("stop", "total"), [("first_exhausted", 200), ("all_exhausted", 600)])
def test_an_epoch_ends_with_the_first_or_last_task_that_was_seen_once(stop, total):
    shares = Shares([(0.0, [0.5, 0.5, 0.0])], [inf] * 3)
    assert epoch_size(shares, Inventory(SPLIT, by_tokens=True), stop, None) == total


def test_max_tokens_are_tokens_also_where_shares_are_of_samples():
    shares = Shares([(0.0, [0.5, 0.5, 0.0])], [inf] * 3)
    assert epoch_size(shares, Inventory(SPLIT, by_tokens=True), "max_tokens", 500) == 500
    assert epoch_size(shares, Inventory(SPLIT, by_tokens=False), "max_tokens", 500) == 40


def test_tasks_that_never_end_make_no_epoch():
    shares = Shares([(0.0, [0.5, 0.5, 0.0])], [150, 50, 0])
    with pytest.raises(UserError, match="max_tokens"):
        epoch_size(shares, Inventory(SPLIT, by_tokens=True), "all_exhausted", None)
