"""Tests that stand in records."""

import pytest

from mftcoder.core.errors import UserError
from mftcoder.evaluation.executing import statements_of, with_tests
from mftcoder.metric.base import Answered


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"tests": "assert f()"}, "assert f()"),
        ({"test_list": ["assert f()", "assert g()"]}, "assert f()\nassert g()"),
        ({"test": "def check(f): pass", "entry_point": "f"}, "def check(f): pass\ncheck(f)"),
        ({"tests": ""}, None),
        ({"output": "x"}, None),
    ],
)
def test_what_a_records_tests_are(record, expected):
    assert statements_of(record, "a:1") == expected


def test_statements_of_another_kind_are_refused():
    with pytest.raises(UserError, match=r"a:1: tests: '3'; expected a text"):
        statements_of({"tests": 3}, "a:1")


def test_the_code_of_an_answer_stands_before_its_tests():
    samples = [
        Answered(task="t", key="1", answers=["```\nx = 1\n```", "x = 2"]),
        Answered(task="t", key="2", answers=["y"]),
    ]
    assert with_tests(samples, {("t", "1"): "assert x"}) == [["x = 1\n\nassert x", "x = 2\nassert x"], []]
