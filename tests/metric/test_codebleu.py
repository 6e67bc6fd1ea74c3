"""CodeBLEU is the package's; where that does not run it is refused with the reason."""

import sys

import pytest

from mftcoder.core.errors import UserError
from mftcoder.metric.base import Answered
from mftcoder.metric.codebleu import CodeBleu

SAMPLE = Answered(
    task="t", key="1", answers=["def f(b):\n    return b + 1\n"], reference="def f(a):\n    return a + 1\n"
)


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="its tree-sitter has no wheel for 3.13")
def test_it_is_the_packages():
    from codebleu import calc_codebleu

    expected = calc_codebleu([SAMPLE.reference], list(SAMPLE.answers), "python")["codebleu"]
    [[value, one]] = CodeBleu(language="python").measure([SAMPLE]).tolist()
    assert (value, one) == (pytest.approx(expected), 1)
    assert 0 < value < 1


def test_an_absent_package_is_refused_with_the_remedy(monkeypatch):
    monkeypatch.setitem(sys.modules, "codebleu", None)
    with pytest.raises(UserError, match=r"metric\.codebleu\.language: python has no score .* pip install"):
        CodeBleu(language="python").measure([SAMPLE])


def test_a_language_without_a_parser_is_refused():
    with pytest.raises(UserError, match="cobol has no score"):
        CodeBleu(language="cobol").measure([SAMPLE])
