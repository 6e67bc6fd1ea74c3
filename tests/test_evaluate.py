"""Evaluation of a run's checkpoint, of a step and of the base, with nothing said twice."""

import json
import math

import pytest

from mftcoder import config
from mftcoder.core.errors import UserError


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory):
    def go(*overrides: str) -> dict[str, float]:
        run_dir = tmp_path_factory.mktemp("evaluation")
        tree = config.load("split=valid", *overrides, config_name="evaluate")
        verb, parts = config.verb(tree)
        metric = verb(**parts, run_dir=run_dir)
        kept = json.loads((run_dir / "evaluation.json").read_text())
        assert metric == kept["valid/loss"]
        return kept

    return go


def test_a_run_is_evaluated_as_it_was_validated(whole, evaluate, capsys):
    run_dir, _ = whole
    last = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    kept = evaluate(f"checkpoint={run_dir}")
    names = [name for name in last if name.startswith("valid/")]
    assert len(names) == 4
    assert {n: kept[n] for n in names} == pytest.approx({n: last[n] for n in names}, rel=1e-6)
    assert f"{math.exp(kept['valid/loss/add']):.3f}" in capsys.readouterr().out


def test_a_step_and_a_part_of_the_samples(whole, evaluate):
    run_dir, _ = whole
    lines = (run_dir / "metrics.jsonl").read_text().splitlines()
    second = next(m for m in map(json.loads, lines) if m["step"] == 2)
    step = evaluate(f"checkpoint={run_dir}/checkpoints/step_000002")
    assert step["valid/loss"] == pytest.approx(second["valid/loss"], rel=1e-6)
    assert evaluate(f"checkpoint={run_dir}", "evaluation_samples=1")["valid/loss"] != step["valid/loss"]


def test_without_a_run_to_ask_the_missing_choice_is_named(evaluate):
    with pytest.raises(UserError, match="give model=<choice>"):
        evaluate()


def test_a_split_without_samples_is_refused_with_the_remedy(whole, evaluate):
    run_dir, _ = whole
    with pytest.raises(UserError, match=r"split=test: no task has a sample in it; take split=valid, or train with"):
        evaluate(f"checkpoint={run_dir}", "split=test")
