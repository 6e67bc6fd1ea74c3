"""What counts as code that parses."""

import pytest

from mftcoder.metric.base import Answered
from mftcoder.metric.syntax import Syntax


@pytest.mark.parametrize(
    ("answer", "fine"),
    [
        ("x = 1\n", True),
        ("    return a + b\n", True),
        ("return a + b", True),
        ("        y += 1\n    return y\n", False),
        ("    if a:\n        b()\n    return a\n\ndef g():\n    pass\n", True),
        ("Here it is:\n```python\nx = 1\n```\nDone.", True),
        ("def f(:\n", False),
        ("", False),
        ("\n  \n", False),
        ("# only a remark\n", False),
        ("x = '\\d'", True),
        ("x = \0", False),
        ("(" * 10000 + ")" * 10000, False),
        ("Sure, I can help you with that!", False),
    ],
)
def test_what_parses(answer, fine):
    sample = Answered(task="t", key="1", answers=[answer])
    assert Syntax(language="python").measure([sample]).tolist() == [[fine, 1]]
