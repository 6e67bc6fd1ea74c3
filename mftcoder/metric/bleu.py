"""BLEU of the answers, as sacrebleu counts it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from mftcoder.metric.base import Answered, Array, Metric

ORDERS = 4


class Bleu(Metric):
    """Corpus BLEU with exponential smoothing: sacrebleu's counts for each sample, its formula for their sums.

    Source: Papineni et al., ACL 2002; Post, WMT 2018 (sacrebleu).

    Args:
        tokenize: how sacrebleu finds words: 13a, its default for text; none, at spaces; char; intl.
    """

    def __init__(self, *, tokenize: Literal["13a", "none", "char", "intl"]) -> None:
        self.tokenize = tokenize

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 10]: lengths of answer and reference, matches and n-grams of each order; means over the answers."""
        from sacrebleu.metrics import BLEU

        bleu = BLEU(tokenize=self.tokenize, force=True, effective_order=True)

        def counts(answer: str, reference: str) -> list[float]:
            found = bleu.sentence_score(answer, [reference])
            return [found.sys_len, found.ref_len, *found.counts, *found.totals]

        rows = [np.mean([counts(answer, s.reference) for answer in s.answers], axis=0) for s in samples]
        return np.array(rows, dtype=np.float64)

    def score(self, sums: Array) -> Array:
        """The geometric mean of the precisions times the brevity penalty, from 0 to 1."""
        answer, reference = sums[..., 0], sums[..., 1]
        matches, total = sums[..., 2 : 2 + ORDERS], sums[..., 2 + ORDERS :]
        unmatched = np.cumsum(matches <= 0, axis=-1)  # The k-th order without a match counts 1 / 2 ** k of one.
        matches = np.where(matches <= 0, 0.5**unmatched, matches)
        with np.errstate(all="ignore"):
            precision = np.exp(np.log(matches / total).sum(-1) / ORDERS)
            brevity = np.exp(np.minimum(0, 1 - reference / answer))
            found = precision * brevity
        silent = (sums[..., 2] <= 0) | (total <= 0).any(-1)
        return np.where(silent, 0.0, found)
