"""Character n-grams that answers share with references: chrF, as sacrebleu counts it."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from mftcoder.metric.base import Answered, Array, Metric


class ChrF(Metric):
    """Corpus chrF: the F-score of character n-grams; sacrebleu's counts for each sample, its formula for their sums.

    Source: Popović, WMT 2015 and 2017 (chrF++); Post, WMT 2018 (sacrebleu).

    Args:
        char_order: longest n-grams of characters.
        word_order: longest n-grams of words; 2 makes it chrF++.
        beta: how much more recall counts than precision.
    """

    def __init__(self, *, char_order: int, word_order: int, beta: int) -> None:
        if char_order < 1 or word_order < 0 or beta < 1:
            raise ValueError(f"char_order: {char_order}, word_order: {word_order} or beta: {beta} is too small")
        self.char_order, self.word_order, self.beta = char_order, word_order, beta

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 3 * orders]: n-grams of answer and reference and their matches; means over a sample's answers."""
        from sacrebleu.metrics import CHRF

        chrf = CHRF(char_order=self.char_order, word_order=self.word_order, beta=self.beta)
        pairs = [(answer, sample.reference) for sample in samples for answer in sample.answers]
        answers, references = [answer for answer, _ in pairs], [reference for _, reference in pairs]
        counts = np.array(chrf._extract_corpus_statistics(answers, [references]), dtype=np.float64)
        starts = np.cumsum([0, *(len(sample.answers) for sample in samples)])
        return np.array([counts[start:end].mean(0) for start, end in pairwise(starts)])

    def score(self, sums: Array) -> Array:
        """F of the mean precision and the mean recall over the orders that both have, from 0 to 1."""
        counts = sums.reshape(*sums.shape[:-1], -1, 3)
        answer, reference, matches = counts[..., 0], counts[..., 1], counts[..., 2]
        known = (answer > 0) & (reference > 0)
        orders = np.maximum(known.sum(-1), 1)
        precision = (np.where(known, matches, 0) / np.where(known, answer, 1)).sum(-1) / orders
        recall = (np.where(known, matches, 0) / np.where(known, reference, 1)).sum(-1) / orders
        factor = self.beta**2
        found: Array = (1 + factor) * precision * recall / np.maximum(factor * precision + recall, 1e-300)
        return found
