"""chrF is sacrebleu's, to the last digit."""

import pytest
from sacrebleu import corpus_chrf

from mftcoder.metric.base import Answered
from mftcoder.metric.chrf import ChrF

PAIRS = [
    ("def add(a, b): return a + b", "def add(x, y): return x + y"),
    ("for i in range(3): print(i)", "for i in range(4): print(i * 2)"),
    ("ab", "a"),
    ("", "some words"),
]


def score(pairs, **settings) -> float:
    samples = [Answered(task="t", key=str(i), answers=[a], reference=r) for i, (a, r) in enumerate(pairs)]
    metric = ChrF(**{"char_order": 6, "word_order": 0, "beta": 2, **settings})
    return 100 * float(metric.score(metric.measure(samples).sum(0)))


@pytest.mark.parametrize("word_order", [0, 2])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_it_is_sacrebleus(number, word_order):
    answers, references = zip(*PAIRS[:number], strict=True)
    expected = corpus_chrf(answers, [references], word_order=word_order).score
    assert score(PAIRS[:number], word_order=word_order) == pytest.approx(expected, rel=1e-9)


def test_an_empty_answer_scores_nothing():
    assert score([PAIRS[3]]) == 0


def test_several_answers_count_as_one():
    both = Answered(task="t", key="1", answers=["ab", "xy"], reference="ab")
    assert ChrF(char_order=1, word_order=0, beta=2).measure([both]).tolist() == [[2, 2, 1]]


def test_an_order_below_one_is_refused():
    with pytest.raises(ValueError, match="char_order: 0"):
        ChrF(char_order=0, word_order=0, beta=2)
