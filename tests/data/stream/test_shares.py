from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mftcoder.core.errors import UserError
from mftcoder.data.stream.shares import Shares, complete, with_floor


def test_shares_follow_the_sizes_to_the_power_of_the_temperature():
    assert complete([None, None], [300, 100], 1.0) == [0.75, 0.25]
    assert complete([None, None], [300, 100], 0.0) == [0.5, 0.5]
    assert complete([None, None], [400, 100], 0.5) == pytest.approx([2 / 3, 1 / 3])


def test_what_is_not_given_is_divided_among_the_others():
    assert complete([0.6, None, None], [1, 30, 10], 1.0) == pytest.approx([0.6, 0.3, 0.1])
    assert complete([0.6, 0.4, None], [1, 1, 10], 1.0) == [0.6, 0.4, 0.0]
    assert complete([None, None], [5, 0], 0.0) == [1.0, 0.0]


@pytest.mark.parametrize("given_shares", [[0.6, 0.6], [0.6, 0.3], [0.0, 0.0]])
def test_shares_must_sum_to_one(given_shares):
    with pytest.raises(UserError, match="sum to"):
        complete(given_shares, [1, 1], 1.0)


def test_a_task_without_data_takes_no_share():
    with pytest.raises(UserError, match="without data"):
        complete([0.5, 0.5], [1, 0], 1.0)


def test_small_shares_are_raised_and_the_others_give_way():
    assert with_floor([0.9, 0.09, 0.01], [0.05] * 3) == pytest.approx([0.95 * 0.9 / 0.99, 0.95 * 0.09 / 0.99, 0.05])
    assert with_floor([0.9, 0.06, 0.04], [0.0, 0.06, 0.5]) == pytest.approx([0.44, 0.06, 0.5])
    assert with_floor([0.7, 0.3, 0.0], [0.1] * 3) == [0.7, 0.3, 0.0]
    with pytest.raises(UserError, match="times what a step holds"):
        with_floor([0.5, 0.3, 0.2], [0.4] * 3)


def test_due_is_linear_while_shares_hold():
    shares = Shares([(0.0, [0.75, 0.25])], [inf, inf])
    assert shares.quota(400) == [300, 100]
    assert shares.total_at(1, 100) == 400
    assert shares.end == inf


def test_stages_take_over_at_their_totals():
    shares = Shares([(0.0, [1.0, 0.0]), (100.0, [0.5, 0.5])], [inf, inf])
    assert shares.quota(100) == [100, 0]
    assert shares.quota(140) == [120, 20]
    assert [shares.rates(total) for total in (0, 99, 100)] == [[1.0, 0.0], [1.0, 0.0], [0.5, 0.5]]
    assert shares.total_at(1, 20) == 140
    assert shares.total_at(0, 50) == 50


def test_who_runs_out_leaves_its_share_to_the_others():
    shares = Shares([(0.0, [0.5, 0.3, 0.2])], [50, inf, 60])
    assert shares.quota(100) == pytest.approx([50, 30, 20])
    assert shares.rates(100) == pytest.approx([0, 0.6, 0.4])
    assert shares.quota(200) == pytest.approx([50, 90, 60])
    assert shares.rates(200) == pytest.approx([0, 1, 0])
    assert shares.total_at(0, 51) == inf


def test_the_stream_ends_when_all_have_run_out():
    shares = Shares([(0.0, [0.5, 0.5])], [10, 30])
    assert shares.end == 40
    assert shares.quota(40) == [10, 30]


def test_it_ends_too_when_a_stage_has_nobody_left():
    assert Shares([(0.0, [0.5, 0.5]), (30.0, [1.0, 0.0])], [10, 100]).end == 30


@given(
    stages=st.lists(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), min_size=1, max_size=4),
    capacity=st.lists(st.floats(1, 500) | st.just(inf), min_size=3, max_size=3),
)
def test_all_that_is_due_sums_to_the_total_and_never_falls(stages, capacity):
    shares = Shares([(100.0 * i, [s / sum(stage) for s in stage]) for i, stage in enumerate(stages)], capacity)
    before = np.zeros(3)
    for total in np.linspace(0, min(shares.end, 1000), 30):
        due = np.array(shares.quota(total))
        assert due.sum() == pytest.approx(total)
        assert (due >= before - 1e-6).all()
        assert (due <= np.array(capacity) + 1e-6).all()
        before = due
