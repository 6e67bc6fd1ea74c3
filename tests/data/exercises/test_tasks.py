import ast

import pytest
from library import make_library

from mftcoder.data.exercises.functions import functions
from mftcoder.data.exercises.tasks import TASKS, exercises


@pytest.fixture
def library(tmp_path):
    return make_library(tmp_path)


@pytest.fixture
def made(library):
    return exercises(functions(library), library / "test")


def unfenced(text):
    assert text.startswith("```python\n")
    assert text.endswith("\n```")
    return text[10:-4]


def test_all_tasks_are_made(made):
    assert tuple(made) == TASKS
    assert len(TASKS) >= 5


def test_text_to_code_asks_for_the_function(made):
    area = next(e for e in made["text_to_code"] if "area" in e.question)
    doc = "The area of a rectangle.\n\n>>> area(2, 3)\n6"
    assert area.question == f"Write the Python function `area(width, height=1)`.\n\n{doc}"
    assert unfenced(area.answer) == "def area(width, height=1):\n    # multiply\n    return width * height"


def test_docstring_writing_asks_for_long_docstrings(made):
    (name,) = made["docstring_writing"]
    assert "_name.lower()" in name.question
    assert "as it was given" not in name.question
    assert name.answer.startswith("The name of the shape")


def test_completion_continues_the_code(made):
    (one,) = made["code_completion"]
    whole = unfenced(one.question.split("\n\n", 1)[1]) + "\n" + unfenced(one.answer)
    assert whole.startswith("def undocumented(values):\n    total = 0")
    assert whole.endswith("print(total)\n    return total")
    ast.parse(whole)


def test_bug_repair_shows_another_function_than_it_wants(made):
    assert made["bug_repair"]
    for one in made["bug_repair"]:
        bug, mended = unfenced(one.question.split("\n\n", 1)[1]), unfenced(one.answer)
        assert ast.dump(ast.parse(bug)) != ast.dump(ast.parse(mended))


def test_tests_are_those_named_after_what_they_call(made):
    doctest, unit = made["test_writing"]
    assert unfenced(doctest.answer) == ">>> area(2, 3)\n6"
    assert doctest.question == "Write a doctest for `area(width, height=1)`.\n\nThe area of a rectangle."
    assert unfenced(unit.answer) == "def test_area(self):\n    self.assertEqual(shapes.area(2, 3), 6)"
    assert unit.question == "Write a unit test for `area(width, height=1)`.\n\nThe area of a rectangle."
    assert unit.package == "shapes"


def test_without_the_library_s_tests_doctests_are_left(library):
    made = exercises(functions(library), library / "nowhere")
    assert [unfenced(e.answer) for e in made["test_writing"]] == [">>> area(2, 3)\n6"]
