"""Evaluation of a run's checkpoint, of a step and of the base, with nothing said twice."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from mftcoder.cli import config
from mftcoder.core.errors import UserError
from mftcoder.evaluation.gate import GateFailed


@pytest.fixture(scope="session")
def evaluate(tmp_path_factory):
    def go(*overrides: str, into: Path | None = None) -> dict[str, float]:
        run_dir = tmp_path_factory.mktemp("evaluation") if into is None else into
        tree = config.load("split=valid", "generation_samples=0", *overrides, config_name="evaluate")
        verb, parts = config.verb(tree)
        metric = verb(**parts, run_dir=run_dir)
        kept = json.loads((run_dir / "results.json").read_text())["losses"]
        assert not kept or metric == kept["valid/loss"]
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
    assert json.loads((tmp_path / "e" / "results.json").read_text())["title"] == "valid split"


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
    assert results(tmp_path)["title"] == "valid split"


@pytest.fixture(scope="module")
def damaged(whole, tmp_path_factory):
    """A copy of the run's last adapter of which one half has the wrong sign and size."""
    step = whole[0] / "checkpoints" / (whole[0] / "checkpoints" / "latest").read_text()
    copy = tmp_path_factory.mktemp("damaged") / "step"
    shutil.copytree(step, copy)
    (copy / "manifest.json").unlink()
    file = copy / "adapter_model.safetensors"
    save_file({name: -20 * t if "lora_B" in name else t for name, t in load_file(file).items()}, file)
    return copy


def test_a_gate_lets_an_equal_model_through_and_stops_a_damaged_one(whole, damaged, evaluate, tmp_path, capsys):
    good = f"{whole[0]}/checkpoints/latest"
    gate = "gate={add: {loss: -0.02}, double: {loss: -0.02}}"
    evaluate(f"checkpoint={whole[0]}", f"against={good}", gate, into=tmp_path)
    assert [demand["passed"] for demand in results(tmp_path)["gate"]] == [True, True]
    with pytest.raises(GateFailed, match=r"gate: worse than allowed beyond chance: add\.loss"):
        evaluate(f"checkpoint={damaged}", f"against={good}", gate, into=tmp_path)
    assert "failed" in capsys.readouterr().out


@pytest.mark.slow
def test_a_model_that_fails_the_gate_ends_with_exit_code_3(whole, damaged, tmp_path):
    asked = (f"checkpoint={damaged}", f"against={whole[0]}/checkpoints/latest", "generation_samples=0")
    words = ("evaluate", *asked, "gate={add: {loss: -0.02}}", f"hydra.run.dir={tmp_path / 'e'}")
    launch = str(Path(__file__).parents[2] / "launch.py")
    ended = subprocess.run([sys.executable, launch, *words], capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 3, ended.stderr
    assert "add.loss" in ended.stderr
    assert (tmp_path / "e" / "results.json").is_file()


def test_what_cannot_be_is_refused_before_a_model_is_loaded(evaluate, whole):
    run = f"checkpoint={whole[0]}"
    cases = {
        (run, "metrics=[execution]"): "metrics: execution would run what the model writes; allow_code_execution=true",
        (run, "benchmark=humaneval"): "metrics: pass_at_k would run what the model writes",
        (run, "num_return_sequences=2"): "num_return_sequences: 2 answers need decoding.do_sample=true",
        (run, "against=null", "gate={add: {loss: 0.0}}"): "gate: there is no other model to compare with",
        (
            run,
            "metrics=[pass_at_k]",
            "allow_code_execution=true",
            "metric.pass_at_k.k=[5]",
        ): "give num_return_sequences=5",
    }
    for overrides, fault in cases.items():
        with pytest.raises(UserError, match=re.escape(fault)):
            evaluate(*overrides)


@pytest.fixture(scope="module")
def tested(run, options, tmp_path_factory):
    """A run on a task whose records have tests that any answer passes, or none does."""
    root = tmp_path_factory.mktemp("tested")
    (root / "code").mkdir()
    tests = ["pass", "raise ValueError"]
    records = [{"prompt": f"{n}?", "answer": "pass", "tests": f"'''\n{n}'''\n{tests[n % 2]}"} for n in range(40)]
    (root / "code" / "a.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    run_dir = root / "run"
    run(run_dir, f"data.paths=[{root / 'code'}]", "training.max_train_steps=1", "training.evaluation_steps=null")
    return run_dir


def test_answers_are_run_with_the_tests_of_their_records(tested, evaluate, tmp_path):
    settings = ("generation_samples=4", "decoding.max_new_tokens=1", "against=null", "sandbox.seconds=20.0")
    evaluate(f"checkpoint={tested}", *settings, "allow_code_execution=true", into=tmp_path)
    assert "execution" in results(tmp_path)["tasks"]["code"]
    lines = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    ran = [model["outcomes"] for line in lines for model in line["models"].values() if "outcomes" in model]
    assert len(ran) == 4
    assert all(reason.startswith(("passed", "failed: ")) for [reason] in ran)


def test_a_benchmark_is_asked_instead_of_held_out_samples(whole, evaluate, tmp_path):
    problems = [{"task_id": n, "text": "x", "test_list": ["assert True"], "test": "x = 1"} for n in range(3)]
    (tmp_path / "easy.jsonl").write_text("".join(json.dumps(problem) + "\n" for problem in problems))
    settings = ("benchmark=file", f"benchmark.path={tmp_path / 'easy.jsonl'}", "allow_code_execution=true")
    decoding = (
        "decoding.max_new_tokens=1",
        "decoding.do_sample=true",
        "num_return_sequences=2",
        "sandbox.seconds=20.0",
    )
    evaluate(f"checkpoint={whole[0]}", *settings, *decoding, "metric.pass_at_k.k=[1,2]", into=tmp_path)
    scores = results(tmp_path)["tasks"]["easy"]
    assert set(scores) == {"pass@1", "pass@2"}
    assert scores["pass@1"]["samples"] == 3
    assert "problems could show" in scores["pass@1"]["verdict"]


def test_a_task_of_the_data_names_its_own_metrics(run, options, evaluate, tmp_path):
    run(
        tmp_path / "run",
        "training.max_train_steps=1",
        "training.evaluation_steps=null",
        "+data.tasks.say.metrics=[chrf]",
    )
    asked = (f"checkpoint={tmp_path / 'run'}", "against=null", "generation_samples=1", "decoding.max_new_tokens=1")
    evaluate(*asked, into=tmp_path)
    assert set(results(tmp_path)["tasks"]["say"]) == {"chrf"}
    assert "loss" in results(tmp_path)["tasks"]["add"]
    evaluate(*asked, "metrics={say: [bleu]}", into=tmp_path)
    assert set(results(tmp_path)["tasks"]["say"]) == {"bleu"}
    with pytest.raises(UserError, match="metrics: execution of say needs tests in the records"):
        evaluate(*asked, "metrics={say: [execution]}", "allow_code_execution=true", into=tmp_path)
