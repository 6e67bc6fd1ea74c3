"""Evaluation of a run's checkpoint, of a step and of the base, with nothing said twice."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from mftcoder.cli import config
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


@pytest.mark.slow
def test_of_two_processes_one_prints_the_table_and_keeps_the_numbers(whole, tmp_path):
    two = ("engine=ddp", "engine.device=cpu", "engine.num_processes=2")
    words = ("evaluate", f"checkpoint={whole[0]}", "split=valid", *two, f"hydra.run.dir={tmp_path / 'e'}")
    launch = str(Path(__file__).parents[2] / "launch.py")
    ended = subprocess.run([sys.executable, launch, *words], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("perplexity") == 1
    assert "perplexity" not in (tmp_path / "e" / "ranks" / "1" / "stdout.log").read_text()
    assert json.loads((tmp_path / "e" / "evaluation.json").read_text())["split"] == "valid"


@pytest.mark.parametrize("pointer", ["latest", "best", "best-say"])
def test_a_pointer_of_a_run_stands_for_the_step_that_it_names(whole, evaluate, pointer):
    run_dir, _ = whole
    step = (run_dir / "checkpoints" / pointer).read_text()
    kept = evaluate(f"checkpoint={run_dir}/checkpoints/{pointer}")
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    line = next(m for m in lines if f"step_{m['step']:06d}" == step)
    assert kept["valid/loss/say"] == pytest.approx(line["valid/loss/say"], rel=1e-6)
