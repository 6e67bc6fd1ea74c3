"""CodeBLEU of the answers, by the package of that name."""

from __future__ import annotations

from collections.abc import Sequence

from mftcoder.core.errors import UserError
from mftcoder.metric.base import Answered, Array, Metric, over_answers

REMEDY = "pip install 'mftcoder[codebleu]', on a Python below 3.13, or leave codebleu out of the metrics"


class CodeBleu(Metric):
    """The mean over samples of CodeBLEU: n-grams, n-grams with keywords, syntax tree and data flow, a quarter each.

    Source: Ren et al., arXiv:2009.10297.

    Args:
        language: of the code, as the package names it: python, java, javascript, go, …
    """

    def __init__(self, *, language: str) -> None:
        self.language = language

    def measure(self, samples: Sequence[Answered]) -> Array:
        """[n, 2]: the mean over each sample's answers, and 1.

        Raises:
            UserError: where the package is absent, or has no parser that works for the language.
        """
        try:
            from codebleu import calc_codebleu

            calc_codebleu([""], [""], self.language)
        except (ImportError, AttributeError, TypeError, ValueError, AssertionError) as error:
            raise UserError(f"metric.codebleu.language: {self.language} has no score ({error}); {REMEDY}") from error

        def value(answer: str, reference: str) -> float:
            return float(calc_codebleu([reference], [answer], self.language)["codebleu"])

        return over_answers(samples, value)
