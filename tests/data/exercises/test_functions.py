import ast

import pytest
from library import make_library

from mftcoder.data.exercises.functions import LONGEST, functions


@pytest.fixture
def found(tmp_path):
    return {function.name: function for function in functions(make_library(tmp_path))}


def test_functions_and_methods_are_found_once_and_no_others(found):
    assert list(found) == [
        "copied.twice",
        "pack.inner.deep",
        "shapes.area",
        "shapes.undocumented",
        "shapes.Shape.name",
        "shapes.Shape.draw",
    ]


def test_a_function_is_its_code_without_its_docstring(found):
    area = found["shapes.area"]
    assert area.source == "def area(width, height=1):\n    # multiply\n    return width * height"
    assert area.doc == "The area of a rectangle.\n\n>>> area(2, 3)\n6"
    assert (area.package, area.signature, area.body) == ("shapes", "area(width, height=1)", 1)


def test_a_method_stands_by_itself_with_its_decorators(found):
    name = found["shapes.Shape.name"]
    assert name.source == "@property\ndef name(self):\n    return self._name.lower()"
    assert name.body == 2
    assert found["shapes.Shape.draw"].source.startswith("async def draw")


def test_what_is_shown_is_one_function(found):
    for function in found.values():
        (node,) = ast.parse(function.source).body
        assert node.name == function.name.split(".")[-1]


def test_long_functions_are_left_out(tmp_path):
    (tmp_path / "long.py").write_text("def f():\n" + "    g()\n" * (LONGEST // 8))
    assert functions(tmp_path) == []
