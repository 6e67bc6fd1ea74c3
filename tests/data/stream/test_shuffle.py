import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mftcoder.data.stream.shuffle import Shuffle

LENGTHS = np.array([5, 1, 4, 9, 7], np.int32)


@given(size=st.integers(1, 50), seed=st.integers(0, 2**63), task=st.integers(0, 9), number=st.integers(0, 10**9))
def test_each_pass_holds_every_sample_once(size, seed, task, number):
    order = Shuffle(np.arange(size, dtype=np.int32), seed=seed, task=task, by_tokens=True)
    rows = [order.row(number * size + i) for i in range(size)]
    assert sorted(rows) == list(range(size))
    assert [order.length(number * size + i) for i in range(size)] == rows  # lengths are the rows themselves here


def test_passes_seeds_and_tasks_differ():
    def order(seed, task):
        made = Shuffle(np.zeros(40, np.int32), seed=seed, task=task, by_tokens=False)
        return tuple(made.row(i) for i in range(80))

    first = order(0, 0)
    assert first[:40] != first[40:]
    assert len({order(0, 0), order(0, 1), order(1, 0)}) == 3
    assert order(0, 0) == first


def test_the_order_is_the_same_on_every_machine_and_for_good():
    order = Shuffle(np.zeros(8, np.int32), seed=3, task=1, by_tokens=False)
    assert [order.row(i) for i in range(16)] == [5, 6, 3, 7, 0, 1, 2, 4, 1, 0, 4, 5, 3, 6, 7, 2]


@pytest.mark.parametrize("by_tokens", [True, False])
def test_position_counts_samples_of_which_half_is_due(by_tokens):
    order = Shuffle(LENGTHS, seed=0, task=0, by_tokens=by_tokens)
    sizes = [order.length(i) if by_tokens else 1 for i in range(3 * len(LENGTHS))]
    middles = np.cumsum(sizes) - np.array(sizes) / 2
    for amount in np.arange(0, sum(sizes), 0.3):
        assert order.position(amount) == (middles < amount).sum()
    assert order.position(2 * order.amount) == 2 * len(LENGTHS)


def test_a_task_without_samples_has_no_positions():
    assert Shuffle(np.zeros(0, np.int32), seed=0, task=0, by_tokens=True).position(10.0) == 0
