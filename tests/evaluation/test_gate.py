"""The gate lets equal models through, and stops those that are worse beyond chance."""

import numpy as np
import pytest

from mftcoder.core.errors import UserError
from mftcoder.evaluation.gate import GateFailed, checked
from mftcoder.evaluation.scores import scored
from mftcoder.metric.base import Answered
from mftcoder.metric.exact_match import ExactMatch
from mftcoder.metric.loss import Loss

METRICS = {"t": {"exact_match": ExactMatch(ignore_outer_whitespace=True), "loss": Loss()}}


def samples(right: int, nats: float, number: int = 200) -> list[Answered]:
    said = {"task": "t", "reference": "a", "tokens": 1}
    spread = np.random.default_rng(0).normal(0, 0.01, number)
    return [
        Answered(**said, key=str(i), nats=nats + spread[i], answers=["a" if i < right else "b"]) for i in range(number)
    ]


@pytest.mark.parametrize(
    ("after", "allowed", "passed"),
    [
        ((100, 1.0), {"exact_match": 0.0, "loss": 0.0}, [True, True]),
        ((60, 1.3), {"exact_match": -0.02, "loss": -0.02}, [False, False]),
        ((60, 1.3), {"exact_match": -0.5, "loss": -0.5}, [True, True]),
        ((99, 1.0), {"exact_match": 0.0}, [True]),
        ((160, 0.5), {"exact_match": 0.0, "loss": 0.0}, [True, True]),
    ],
)
def test_what_is_allowed_passes(after, allowed, passed):
    rows = scored(samples(*after), samples(100, 1.0), METRICS)
    assert [demand.passed for demand in checked({"t": allowed}, rows)] == passed


def answered(right: np.ndarray) -> list[Answered]:
    said = {"task": "t", "reference": "a"}
    return [Answered(**said, key=str(i), answers=["a" if fine else "b"]) for i, fine in enumerate(right)]


def test_equal_models_pass_all_demands_in_95_percent_of_draws():
    rng = np.random.default_rng(1)
    stopped = 0
    for _ in range(1000):
        hard = rng.beta(0.5, 0.8, 100)
        two = [answered(rng.random(100) < hard) for _ in range(2)]
        rows = scored(*two, {"t": {"exact_match": METRICS["t"]["exact_match"]}})
        stopped += not checked({"t": {"exact_match": 0.0}}, rows)[0].passed
    assert stopped / 1000 == pytest.approx(0.05, abs=0.01)


def test_demands_of_nothing_are_refused_with_what_there_is():
    rows = scored(samples(1, 1.0), samples(1, 1.0), METRICS)
    with pytest.raises(UserError, match=r"gate\.t\.blue, gate\.u\.loss: no such score .* t\.exact_match, t\.loss"):
        checked({"t": {"blue": 0.0}, "u": {"loss": 0.0}}, rows)


def test_its_exit_code_is_3():
    assert (GateFailed("why").code, str(GateFailed("why"))) == (3, "why")
