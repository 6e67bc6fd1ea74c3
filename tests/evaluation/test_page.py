"""The page shows verdicts and both answers of a sample, which can be filtered, and runs nothing that they hold."""

from __future__ import annotations

from html.parser import HTMLParser

import pytest

from mftcoder.evaluation.gate import checked
from mftcoder.evaluation.page import change, evaluation_page
from mftcoder.evaluation.scores import scored
from mftcoder.metric.base import Answered
from mftcoder.metric.exact_match import ExactMatch

HOSTILE = "</pre><script>alert(1)</script>"
METRICS = {"t": {"exact_match": ExactMatch(ignore_outer_whitespace=True)}}


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def line(before: list[str], after: list[str], *, passed: tuple[bool, bool] | None = None) -> dict:
    models = {"tuned": {"answers": after}, "base": {"answers": before}}
    for model, fine in zip(models.values(), reversed(passed or ()), strict=False):
        model |= {"passed": [fine], "outcomes": ["passed" if fine else "failed: why"]}
    return {"task": "t", "key": "1", "prompt": HOSTILE, "reference": "a", "tokens": 1, "models": models}


def page(lines) -> str:
    samples = [
        [Answered(task="t", key=str(i), reference="a", answers=["a" if i < right else "b"]) for i in range(30)]
        for right in (25, 5)
    ]
    rows = scored(*samples, METRICS)
    return evaluation_page("t", ["tuned", "base"], rows, checked({"t": {"exact_match": 0.0}}, rows), lines)


def test_verdicts_gate_and_both_answers_are_there():
    html = page([line(["was"], ["is"], passed=(False, True))])
    for text in ("better by ", "exact_match", "passed", "<pre>was\n\n[failed: why]</pre>", "<pre>is\n\n[passed]</pre>"):
        assert text in html
    tags = Tags()
    tags.feed(html)
    [section] = [attributes for tag, attributes in tags.found if tag == "section"]
    assert section["data-task"] == "t"
    assert [tag for tag, _ in tags.found].count("select") == 2
    assert html.index('class="sample"') < html.index("addEventListener")


def test_what_answers_hold_is_text():
    plain, hostile = Tags(), Tags()
    plain.feed(page([line(["x"], ["y"])]))
    hostile.feed(page([line([HOSTILE], [HOSTILE])]))
    assert [tag for tag, _ in hostile.found] == [tag for tag, _ in plain.found]


@pytest.mark.parametrize(
    ("sample", "expected"),
    [
        (line(["b"], ["a"]), "gained"),
        (line(["a"], ["b"]), "lost"),
        (line(["b"], ["c"]), "same"),
        (line(["a"], ["b"], passed=(False, True)), "gained"),
        (line(["a", "b"], ["a", "a"]), "gained"),
    ],
)
def test_the_change_of_a_verdict(sample, expected):
    assert change(sample, ["tuned", "base"]) == expected


def test_a_page_without_answers_has_no_filter():
    bare = {**line([], []), "models": {"tuned": {}, "base": {}}}
    assert "<select>" not in page([bare])
