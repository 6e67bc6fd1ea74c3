"""Intervals hold what they should as often as they say, on data whose truth is known."""

import math

import numpy as np
import pytest

from mftcoder.metric.base import Answered, mean_of, ratio
from mftcoder.metric.exact_match import ExactMatch
from mftcoder.metric.perplexity import Perplexity
from mftcoder.statistics.intervals import bonett_price, difference, interval, passes_or_fails, wilson

DRAWS = 1000
WITHIN = 0.01  # 1000 draws scatter by 0.7 % themselves


def skewed(rng: np.random.Generator, number: int) -> np.ndarray:
    """Losses of samples of different lengths; the true mean loss a token is exp(0.3 ** 2 / 2)."""
    tokens = rng.integers(10, 60, number)
    return np.stack([rng.lognormal(0, 0.3, number) * tokens, tokens], axis=1)


def test_the_bootstrap_interval_of_a_skewed_ratio_covers_the_truth_in_95_percent_of_draws():
    rng, truth = np.random.default_rng(1), math.exp(0.045)
    found = [interval(skewed(rng, 100), ratio) for _ in range(DRAWS)]
    assert np.mean([i.low <= truth <= i.high for i in found]) == pytest.approx(0.95, abs=WITHIN)


def test_the_interval_of_a_pass_rate_covers_the_truth_in_95_percent_of_draws():
    rng = np.random.default_rng(2)
    rates = rng.random(DRAWS)
    found = [(rate, interval(mean_of((rng.random(164) < rate) * 1.0), ratio)) for rate in rates]
    assert np.mean([i.low <= rate <= i.high for rate, i in found]) == pytest.approx(0.95, abs=WITHIN)


def test_the_interval_of_a_paired_difference_of_pass_rates_covers_the_truth_in_95_percent_of_draws():
    rng = np.random.default_rng(3)
    hits = []
    for _ in range(DRAWS):
        hard = rng.beta(0.5, 0.8, 164)
        before, after = (rng.random((2, 164)) < np.stack([hard, np.minimum(1, hard + 0.1)])) * 1.0
        found = difference(mean_of(before), mean_of(after), ratio)
        hits.append(found.low <= (np.minimum(1, hard + 0.1) - hard).mean() <= found.high)
    assert np.mean(hits) == pytest.approx(0.95, abs=WITHIN)


def test_the_bootstrap_interval_of_a_paired_difference_covers_the_truth_in_95_percent_of_draws():
    rng = np.random.default_rng(4)
    hits = []
    for _ in range(DRAWS):
        before = skewed(rng, 100)
        after = before * np.stack([rng.lognormal(-0.1, 0.1, 100), np.ones(100)], axis=1)
        found = difference(before, after, ratio)
        truth = math.exp(0.045) * (math.exp(-0.1 + 0.005) - 1)
        hits.append(found.low <= truth <= found.high)
    assert np.mean(hits) == pytest.approx(0.95, abs=WITHIN)


def test_pairs_tell_what_two_intervals_apart_would_not():
    rng = np.random.default_rng(5)
    before = skewed(rng, 100)
    after = before * [0.97, 1.0]
    apart = interval(before, ratio), interval(after, ratio)
    assert apart[1].high > apart[0].low
    assert difference(before, after, ratio).high < 0


def test_wilson_is_as_in_the_literature():
    assert wilson(0.5, 10, 0.95) == pytest.approx((0.2366, 0.7634), abs=1e-4)
    assert wilson(0.0, 10, 0.95) == pytest.approx((0.0, 0.2775), abs=1e-4)


def test_no_discordant_pair_leaves_an_interval_around_zero():
    low, high = bonett_price(0, 0, 164, 0.95)
    assert -0.03 < low < 0 < high < 0.03


def test_one_sample_has_a_score_and_no_interval():
    found = interval(np.array([[3.0, 2.0]]), ratio)
    assert (found.estimate, math.isnan(found.low), math.isnan(found.high)) == (1.5, True, True)


def test_samples_that_are_all_the_same_have_an_interval_of_no_width():
    found = interval(np.array([[3.0, 2.0]] * 5), ratio)
    assert (found.low, found.high) == pytest.approx((1.5, 1.5))


def test_many_samples_get_the_normal_interval_which_is_nearly_that_of_the_bootstrap():
    stats = skewed(np.random.default_rng(6), 5000)
    many, fewer = interval(stats, ratio), interval(stats[:4000], ratio)
    assert many.reach == pytest.approx(fewer.reach * math.sqrt(4000 / 5000), rel=0.1)


def test_metrics_that_pass_or_fail_get_the_interval_of_a_proportion():
    samples = [Answered(task="t", key=str(i), reference="a", answers=["a" if i < 3 else "b"]) for i in range(30)]
    exact, perplexity = ExactMatch(ignore_outer_whitespace=True), Perplexity()
    found = interval(exact.measure(samples), exact.score)
    assert (found.low, found.high) == wilson(0.1, 30, 0.95)
    assert not passes_or_fails(np.array([[1.0, 1.0], [0.0, 1.0]]), perplexity.score)
