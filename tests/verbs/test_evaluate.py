"""Evaluation of a run's checkpoint, of a step and of the base, with nothing said twice."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mftcoder.cli import config
from mftcoder.core.errors import UserError


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory):
    def go(*overrides: str, into: Path | None = None) -> dict[str, float]:
        run_dir = tmp_path_factory.mktemp("evaluation") if into is None else into
        tree = config.load("split=valid", "generation_samples=0", *overrides, config_name="evaluate")
        verb, parts = config.verb(tree)
        metric = verb(**parts, run_dir=run_dir)
        kept = json.loads((run_dir / "results.json").read_text())["losses"]
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
    assert f"{math.exp(kept['valid/loss/add']):.4f}" in capsys.readouterr().out


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
    words = (
        "evaluate",
        f"checkpoint={whole[0]}",
        "split=valid",
        "against=null",
        "generation_samples=1",
        *two,
        f"hydra.run.dir={tmp_path / 'e'}",
    )
    launch = str(Path(__file__).parents[2] / "launch.py")
    ended = subprocess.run([sys.executable, launch, *words], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("valid split") == 1
    assert "valid split" not in (tmp_path / "e" / "ranks" / "1" / "stdout.log").read_text()
    assert json.loads((tmp_path / "e" / "results.json").read_text())["split"] == "valid"


@pytest.mark.parametrize("pointer", ["latest", "best", "best-say"])
def test_a_pointer_of_a_run_stands_for_the_step_that_it_names(whole, evaluate, pointer):
    run_dir, _ = whole
    step = (run_dir / "checkpoints" / pointer).read_text()
    kept = evaluate(f"checkpoint={run_dir}/checkpoints/{pointer}")
    lines = map(json.loads, (run_dir / "metrics.jsonl").read_text().splitlines())
    line = next(m for m in lines if f"step_{m['step']:06d}" == step)
    assert kept["valid/loss/say"] == pytest.approx(line["valid/loss/say"], rel=1e-6)


def results(run_dir: Path) -> dict[str, Any]:
    return json.loads((run_dir / "results.json").read_text())


@pytest.fixture(scope="module")
def compared(whole, evaluate, tmp_path_factory):
    """A tuned model and its base, with answers."""
    into = tmp_path_factory.mktemp("compared")
    evaluate(f"checkpoint={whole[0]}", "generation_samples=2", "decoding.max_new_tokens=4", into=into)
    return into


def test_the_base_is_told_beside_the_tuned_model_with_a_verdict_a_task(whole, compared, capsys):
    kept = results(compared)
    assert kept["models"] == [str(whole[0]), "base"]
    assert set(kept["tasks"]) == {"add", "double", "say"}
    for metrics in kept["tasks"].values():
        assert set(metrics) == {"loss", "perplexity", "exact_match", "edit_similarity"}
        assert metrics["loss"]["estimate"] < metrics["loss"]["before"]["estimate"]
        assert metrics["loss"]["difference"]["estimate"] < 0
    loss = kept["tasks"]["add"]["loss"]
    assert loss["low"] < loss["estimate"] < loss["high"]
    assert (loss["change"], loss["verdict"][:10]) == ("better", "better by ")
    assert loss["corrected_p"] >= loss["p"]


def test_every_answer_is_kept_beside_that_of_the_other_model(whole, compared):
    lines = [json.loads(line) for line in (compared / "samples.jsonl").read_text().splitlines()]
    answered = [line for line in lines if "answers" in line["models"]["base"]]
    assert [line["task"] for line in answered] == ["add"] * 2 + ["double"] * 2 + ["say"] * len(answered[4:])
    for line in lines:
        assert set(line["models"]) == {str(whole[0]), "base"}
        assert line["models"]["base"]["nats"] > 0
    assert answered[0]["prompt"]
    assert str(int(answered[0]["reference"])) == answered[0]["reference"].strip()


def test_a_model_compared_with_itself_shows_no_difference(whole, evaluate, tmp_path):
    evaluate(f"checkpoint={whole[0]}", f"against={whole[0]}/checkpoints/latest", into=tmp_path)
    verdicts = {m["verdict"] for task in results(tmp_path)["tasks"].values() for m in task.values()}
    assert all(said.startswith("no difference that ") for said in verdicts)


def test_metrics_can_be_named_for_all_tasks_or_by_task(whole, evaluate, tmp_path):
    settings = (f"checkpoint={whole[0]}", "against=null", "generation_samples=2", "decoding.max_new_tokens=2")
    evaluate(*settings, "metrics=[chrf,bleu]", into=tmp_path)
    assert {name for task in results(tmp_path)["tasks"].values() for name in task} == {"chrf", "bleu"}
    evaluate(*settings, "metrics={say: [syntax]}", into=tmp_path)
    assert {task: set(names) for task, names in results(tmp_path)["tasks"].items()} == {
        "add": {"loss", "perplexity", "exact_match", "edit_similarity"},
        "double": {"loss", "perplexity", "exact_match", "edit_similarity"},
        "say": {"syntax"},
    }


def test_metrics_and_tasks_that_are_none_are_named_together(whole, evaluate):
    with pytest.raises(UserError, match=r"no task 'nay'(.|\n)*'chfr' of task say is no metric"):
        evaluate(f"checkpoint={whole[0]}", "metrics={say: [chfr], nay: [loss]}")


def test_where_nothing_is_held_out_for_a_test_auto_is_valid(whole, evaluate, tmp_path):
    evaluate(f"checkpoint={whole[0]}", "split=auto", "against=null", into=tmp_path)
    assert results(tmp_path)["split"] == "valid"
