"""Scores of one model and of two, with p-values corrected over all tasks and metrics."""

import pytest

from mftcoder.core.errors import UserError
from mftcoder.evaluation.scores import chosen_metrics, scored
from mftcoder.metric.base import Answered
from mftcoder.metric.exact_match import ExactMatch
from mftcoder.metric.execution import Execution
from mftcoder.metric.loss import Loss
from mftcoder.metric.pass_at_k import PassAtK

EXACT = ExactMatch(ignore_outer_whitespace=True)


def samples(task: str, right: int, number: int = 40) -> list[Answered]:
    said = {"task": task, "reference": "a", "tokens": 1, "nats": 1.0}
    return [Answered(**said, key=str(i), answers=["a" if i < right else "b"]) for i in range(number)]


def test_one_model_has_values_and_no_verdict():
    [row] = scored(samples("t", 10), None, {"t": {"exact_match": EXACT}})
    assert (row.value.estimate, row.before, row.verdict) == (0.25, None, None)


def test_two_models_are_compared_and_corrected_for_all_comparisons():
    tasks = ("s", "t", "u")
    after = [sample for task, right in zip(tasks, (30, 12, 10), strict=True) for sample in samples(task, right)]
    before = [sample for task in tasks for sample in samples(task, 10)]
    rows = scored(after, before, {task: {"exact_match": EXACT} for task in tasks})
    assert [row.verdict.change for row in rows] == ["better", "none", "none"]
    assert rows[0].verdict.corrected_p == pytest.approx(3 * rows[0].verdict.p)
    assert rows[0].verdict.words.startswith("better by 50.0 ± ")


def test_a_metric_is_of_the_samples_that_have_what_it_needs():
    mixed = [*samples("t", 2, 3), Answered(task="t", key="9", tokens=2, nats=4.0)]
    exact, loss = scored(mixed, None, {"t": {"exact_match": EXACT, "loss": Loss()}})
    assert (exact.value.samples, loss.value.samples) == (3, 4)
    assert scored(mixed, None, {"t": {"execution": Execution()}}) == []


def test_each_k_has_a_row_of_its_own():
    tried = [Answered(task="t", key="1", answers="abc", passed=[True, False, False])]
    rows = scored(tried, None, {"t": {"pass_at_k": PassAtK(k=[1, 3])}})
    assert {row.name: row.value.estimate for row in rows} == pytest.approx({"pass@1": 1 / 3, "pass@3": 1.0})


def test_a_tasks_own_metrics_take_the_place_of_the_defaults():
    known = {"loss": Loss(), "exact_match": EXACT}
    chosen = chosen_metrics({"s": ["exact_match"]}, known, {"s": ["loss"], "t": ["loss"]})
    assert {task: list(own) for task, own in chosen.items()} == {"s": ["exact_match"], "t": ["loss"]}
    with pytest.raises(UserError, match=r"no task 'v'; there are s, t\nmetrics: 'los' of task s is no metric"):
        chosen_metrics({"s": ["los"], "v": []}, known, {"s": [], "t": []})
