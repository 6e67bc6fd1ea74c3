"""The tests of pairs reject equal models as often as they say, and see real differences."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest

from mftcoder.metric.base import mean_of, ratio
from mftcoder.statistics.significance import holm, mcnemar, p_value

DRAWS = 1000


def test_equal_models_that_pass_and_fail_differ_in_5_percent_of_draws():
    rng = np.random.default_rng(1)
    rejected = []
    for _ in range(DRAWS):
        hard = rng.beta(0.5, 0.8, 164)
        before, after = (rng.random((2, 164)) < hard) * 1.0
        rejected.append(p_value(mean_of(before), mean_of(after), ratio) < 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.01)


def test_equal_models_with_skewed_losses_differ_in_5_percent_of_draws():
    rng = np.random.default_rng(2)
    rejected = []
    for _ in range(DRAWS):
        tokens = rng.integers(10, 60, 40)
        both = rng.lognormal(0, 0.4, 40) * rng.lognormal(0, 0.1, (2, 40)) * tokens
        before, after = (np.stack([nats, tokens], axis=1) for nats in both)
        rejected.append(p_value(before, after, ratio) < 0.05)
    assert np.mean(rejected) == pytest.approx(0.05, abs=0.01)


def test_a_real_difference_is_seen():
    rng = np.random.default_rng(3)
    before = np.stack([rng.lognormal(0, 0.4, 50), np.ones(50)], axis=1)
    assert p_value(before, before * [0.98, 1.0], ratio) < 0.001


def test_the_test_of_random_swaps_agrees_with_the_exact_one():
    before, after = np.zeros(60), np.zeros(60)
    after[:9], before[9:12] = 0.5, 0.5
    assert p_value(mean_of(before), mean_of(after), ratio) == pytest.approx(mcnemar(9, 3), abs=0.01)


def test_mcnemar_is_the_binomial_sum():
    tail = sum(comb(20, k) for k in range(6)) - Fraction(comb(20, 5), 2)
    assert mcnemar(5, 15) == mcnemar(15, 5) == pytest.approx(float(2 * tail / 2**20))
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(4, 4) == 1.0


def test_holm_keeps_the_order_and_corrects_each_by_how_many_are_left():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]


def test_of_many_equal_models_one_is_called_different_in_5_percent_of_draws():
    rng = np.random.default_rng(4)
    families = rng.random((4 * DRAWS, 10))
    assert np.mean([min(holm(list(family))) < 0.05 for family in families]) == pytest.approx(0.05, abs=0.01)
