import pytest

from mftcoder.data.exercises import mutation
from mftcoder.data.exercises.mutation import mutate


@pytest.mark.parametrize(
    ("operator", "source", "mutant"),
    [
        ("comparisons", "def f(a):\n    return a < 1\n", "def f(a):\n    return a <= 1\n"),
        ("comparisons", "def f(a, b):\n    return a  not in  b\n", "def f(a, b):\n    return a  in  b\n"),
        ("arithmetic", "def f(a):\n    return a // 2\n", "def f(a):\n    return a / 2\n"),
        ("connectives", "def f(a, b):\n    return a and b\n", "def f(a, b):\n    return a or b\n"),
        ("constants", "def f():\n    return 41\n", "def f():\n    return 42\n"),
        ("constants", "def f():\n    return True\n", "def f():\n    return False\n"),
        ("negations", "def f(a):\n    return not a\n", "def f(a):\n    return a\n"),
        ("negations", "def f(a):\n    if a:\n        g()\n", "def f(a):\n    if not a:\n        g()\n"),
        ("arguments", "def f():\n    g('é', x)\n", "def f():\n    g(x, 'é')\n"),
        ("names", "def f(self, a, b):\n    g(a)\n", "def f(self, a, b):\n    g(b)\n"),
        ("returns", "def f(a):\n    return a\n", "def f(a):\n    return\n"),
        ("returns", "def f():\n    for _ in x:\n        break\n", "def f():\n    for _ in x:\n        continue\n"),
    ],
)
def test_each_operator_makes_one_edit(monkeypatch, operator, source, mutant):
    monkeypatch.setattr(mutation, "OPERATORS", (getattr(mutation, operator),))
    assert mutate(source) == mutant


def test_there_is_a_test_of_every_operator():
    assert len(mutation.OPERATORS) == 8


def test_what_cannot_be_broken_is_left_alone():
    assert mutate("def f():\n    pass\n") is None


def test_an_edit_that_is_no_python_or_none_is_not_taken(monkeypatch):
    def none(nodes, data, span):
        yield 0, 3, "fed"
        yield 0, 0, ""

    monkeypatch.setattr(mutation, "OPERATORS", (none, mutation.returns))
    source = "def f(a):\n    return a\n"
    assert mutate(source) == "def f(a):\n    return\n"


def test_a_return_of_none_is_none_anyway(monkeypatch):
    monkeypatch.setattr(mutation, "OPERATORS", (mutation.returns,))
    assert mutate("def f(a):\n    return None\n") is None


def test_comments_between_operands_do_not_confuse(monkeypatch):
    monkeypatch.setattr(mutation, "OPERATORS", (mutation.arithmetic,))
    source = "def f(a):\n    return (a +  # plus\n        1)\n"
    assert mutate(source) is None


def test_the_same_function_gets_the_same_bug():
    source = "def f(a, b):\n    if a < b and a:\n        return g(a, b) + 1\n    return not b\n"
    assert mutate(source) == mutate(source) != source
