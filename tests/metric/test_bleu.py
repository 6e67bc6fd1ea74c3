"""BLEU is sacrebleu's, to the last digit."""

import pytest
from sacrebleu import corpus_bleu

from mftcoder.metric.base import Answered
from mftcoder.metric.bleu import Bleu

PAIRS = [
    ("def add(a, b): return a + b", "def add(x, y): return x + y"),
    ("for i in range(3): print(i)", "for i in range(4): print(i * 2)"),
    ("the cat sat on the mat today", "the cat sat on a mat"),
    ("nothing of it", "is the same here at all"),
]


def score(pairs, **settings) -> float:
    samples = [Answered(task="t", key=str(i), answers=[a], reference=r) for i, (a, r) in enumerate(pairs)]
    metric = Bleu(**{"tokenize": "13a", **settings})
    return 100 * float(metric.score(metric.measure(samples).sum(0)))


@pytest.mark.parametrize("tokenize", ["13a", "none", "char"])
@pytest.mark.parametrize("number", [1, 2, 4])
def test_it_is_sacrebleus(number, tokenize):
    answers, references = zip(*PAIRS[:number], strict=True)
    expected = corpus_bleu(answers, [references], tokenize=tokenize, force=True).score
    assert score(PAIRS[:number], tokenize=tokenize) == pytest.approx(expected, rel=1e-9)


def test_orders_without_a_match_are_smoothed_as_there():
    pairs = [("a b c d e x y", "x a y c b e d z")]
    assert score(pairs) == pytest.approx(corpus_bleu([pairs[0][0]], [[pairs[0][1]]]).score)
    assert score(pairs) > 0


def test_an_answer_without_words_scores_nothing():
    assert score([("", "some words")]) == 0
    assert score([PAIRS[3]]) == 0
