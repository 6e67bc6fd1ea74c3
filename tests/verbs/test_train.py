"""Whole runs of the tiny model: they learn, repeat, stop, go on to the bit, and leave what other tools can load."""

import json
import shutil

import pytest
import torch
from peft import PeftModel
from run_files import StopAt, metrics, step_files
from transformers import AutoModelForCausalLM

from mftcoder.cli import config
from mftcoder.core.errors import Preempted, UserError
from mftcoder.storage import resumption

SIZES = ("add", "double", "say")


def test_every_task_learns_and_the_run_says_so(whole):
    run_dir, metric = whole
    first, *_, last = metrics(run_dir)
    assert (first["step"], last["step"]) == (0, 6)
    for task in SIZES:
        assert last[f"valid/loss/{task}"] < first[f"valid/loss/{task}"]
    best = {t: min(m[f"valid/loss/{t}"] for m in metrics(run_dir) if f"valid/loss/{t}" in m) for t in SIZES}
    assert metric == pytest.approx(sum(best.values()) / len(best), abs=1e-12)
    assert last["valid/loss"] == pytest.approx(sum(last[f"valid/loss/{t}"] for t in SIZES) / len(SIZES), abs=1e-12)


def test_metrics_have_the_names_of_the_design(whole):
    run_dir, _ = whole
    line = json.loads((run_dir / "metrics.jsonl").read_text().splitlines()[-1])
    names = {"step", "epoch", "tokens", "train/loss", "valid/loss", "learning_rate", "grad_norm", "tokens_per_second"}
    names |= {"supervised_tokens_per_second", "padding_fraction", "memory_bytes"}
    names |= {f"train/{what}/{t}" for what in ("loss", "weight", "effective_weight", "tokens") for t in SIZES}
    names |= {f"valid/loss/{t}" for t in SIZES} | {f"seconds/{p}" for p in ("data", "forward_backward", "optimizer")}
    assert line.keys() == names
    assert line["padding_fraction"] == 0


def test_answers_before_and_after_are_kept(whole):
    run_dir, _ = whole
    answers = [json.loads(line) for line in (run_dir / "samples.jsonl").read_text().splitlines()]
    assert [(a["step"], a["task"]) for a in answers] == [(step, task) for step in (0, 6) for task in SIZES]
    assert answers[0]["prompt"].endswith("<s>assistant\n")
    assert answers[0]["prompt"] == answers[3]["prompt"]


def test_the_same_seed_gives_the_same_run_and_another_another(whole, run, tmp_path):
    run(tmp_path / "again")
    assert metrics(tmp_path / "again") == metrics(whole[0])
    run(tmp_path / "other", "seed=5")
    assert metrics(tmp_path / "other") != metrics(whole[0])


@pytest.mark.parametrize("stop", [1, 3])
def test_stopped_and_resumed_equals_the_uninterrupted_run_to_the_bit(whole, run, tmp_path, stop):
    with pytest.raises(Preempted) as stopped:
        run(tmp_path / "part", also=StopAt(stop))
    assert stopped.value.message == f"stopped after step {stop} of 6, with a checkpoint"
    run(tmp_path / "rest", f"resume={tmp_path / 'part'}")
    assert step_files(tmp_path / "rest", 6) == step_files(whole[0], 6)
    assert metrics(tmp_path / "part") + metrics(tmp_path / "rest") == metrics(whole[0])


def test_resuming_in_the_same_directory_forgets_what_came_after_the_checkpoint(whole, run, tmp_path):
    """As after a crash: the log is ahead of the newest checkpoint."""
    with pytest.raises(Preempted):
        run(tmp_path / "a", also=StopAt(5))
    for name in ("step_000005", "latest"):
        path = tmp_path / "a" / "checkpoints" / name
        path.unlink() if path.is_file() else shutil.rmtree(path)
    run(tmp_path / "a", "resume=auto")
    assert metrics(tmp_path / "a") == metrics(whole[0])


def test_steps_beyond_what_the_data_give_are_left_out_and_the_run_says_so(run, tmp_path, caplog):
    repeats = [f"+data.tasks.{task}.repeat=1" for task in SIZES]
    with caplog.at_level("INFO", logger="mftcoder"):
        run(tmp_path / "a", "training.max_train_steps=500", *repeats)
    last = metrics(tmp_path / "a")[-1]
    assert 0.95 < last["epoch"] <= 1  # What is left fills no step.
    assert last["valid/loss"]
    assert f"max_train_steps: 500, but the data give {int(last['step'])}, " in caplog.text
    assert resumption.newest(tmp_path / "a").name == f"step_{int(last['step']):06d}"


def test_a_run_does_not_go_on_over_changed_data(run, folders, tmp_path):
    """One word of one record, which leaves all lengths as they were."""
    mine = tmp_path / "tasks"
    shutil.copytree(folders, mine)
    options = (f"data.paths=[{mine / 'add'},{mine / 'say'}]", f"cache_dir={tmp_path / 'cache'}")
    run(tmp_path / "a", *options, "training.max_train_steps=2")
    records = mine / "say" / "data.jsonl"
    records.write_text(records.read_text().replace("say it 2 times", "say it 7 times"))
    more = (*options, f"resume={tmp_path / 'a'}", "training.max_train_steps=4")
    with pytest.raises(UserError, match=r"task say: not the same data as there\nresume_force"):
        run(tmp_path / "b", *more)
    run(tmp_path / "b", *more, "resume_force=true")
    assert metrics(tmp_path / "b")[-1]["step"] == 4


def test_another_global_batch_is_refused_and_another_division_of_it_is_not(whole, run, tmp_path):
    halved = ("training.per_device_train_batch_size=1", "checkpoint.checkpointing_steps=null")
    shutil.copytree(whole[0] / "checkpoints" / "step_000002", tmp_path / "a" / "checkpoints" / "step_000002")
    with pytest.raises(UserError, match=r"training\.gradient_accumulation_steps=4 keeps it"):
        run(tmp_path / "a", *halved, "resume=auto")
    run(tmp_path / "a", *halved, "training.gradient_accumulation_steps=4", "resume=auto")
    expected = {m["step"]: m["tokens"] for m in metrics(whole[0])}
    assert all(m["tokens"] == expected[m["step"]] for m in metrics(tmp_path / "a"))
    assert metrics(tmp_path / "a")[-1]["step"] == 6


@pytest.mark.parametrize("balancer", ["coba", "famo", "gradnorm", "uncertainty"])
def test_the_balancer_resumes_too(run, tmp_path, balancer):
    options = [f"balancer={balancer}"]
    if balancer == "coba":
        settings = {"warmup_steps": 2, "history_length": 3, "update_interval": 1}
        options += [f"balancer.coba_{name}={value}" for name, value in settings.items()]
    run(tmp_path / "whole", *options)
    with pytest.raises(Preempted):
        run(tmp_path / "part", *options, also=StopAt(3))
    run(tmp_path / "rest", *options, f"resume={tmp_path / 'part'}")
    assert step_files(tmp_path / "rest", 6) == step_files(tmp_path / "whole", 6)


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # PEFT asks by the old name
def test_plain_peft_loads_the_adapter_with_the_same_logits(whole):
    run_dir, _ = whole
    step = run_dir / "checkpoints" / "step_000006"
    base = json.loads((step / "adapter_config.json").read_text())["base_model_name_or_path"]
    ids = torch.arange(20)[None]
    before = AutoModelForCausalLM.from_pretrained(base)(ids).logits
    loaded = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), str(step)).eval()
    parts = config.build(json.loads((step / "run.json").read_text())["model"])
    ours = parts.load(None, torch.device("cpu"), frozen=True)
    ours = PeftModel.from_pretrained(ours, str(step)).eval()
    assert torch.equal(loaded(ids).logits, ours(ids).logits)
    assert (loaded(ids).logits - before).abs().max() > 1e-2


def test_qlora_trains_and_evaluates_on_this_device(run, tmp_path):
    pytest.importorskip("bitsandbytes")
    run(tmp_path / "q", "peft=qlora")
    first, *_, last = metrics(tmp_path / "q")
    assert last["valid/loss"] < first["valid/loss"] - 0.1


@pytest.mark.parametrize("mode", ["padding", "pack"])
def test_all_parameters_train_packed_and_padded_alike(run, tmp_path, mode):
    run(tmp_path / mode, "peft=none", f"data.padding_mode={mode}", "optimizer.lr=1e-3")
    first, *_, last = metrics(tmp_path / mode)
    assert last["valid/loss"] < first["valid/loss"] - 0.1


def test_early_stopping_ends_the_run_with_a_checkpoint(run, tmp_path):
    run(tmp_path / "s", "optimizer.lr=0", "training.early_stopping_stall_num=2")
    last = metrics(tmp_path / "s")[-1]
    assert last["step"] == 4
    assert (tmp_path / "s" / "checkpoints" / "latest").read_text().strip() == f"step_{int(last['step']):06d}"


def test_a_loss_that_is_not_finite_stops_the_run_and_is_written_down(run, tmp_path, monkeypatch):
    from mftcoder.engine.single import Single

    real = Single.clip
    monkeypatch.setattr(Single, "clip", lambda self, norm: real(self, norm) * float("nan"))
    with pytest.raises(UserError, match="step 1: loss or gradient is not finite"):
        run(tmp_path / "n")
    anomaly = json.loads((tmp_path / "n" / "anomalies.jsonl").read_text())
    assert anomaly["step"] == 1
    assert anomaly["samples"]
    run(tmp_path / "skip", "training.non_finite=skip", "training.anomaly_limit=6")
    assert metrics(tmp_path / "skip")[-1]["step"] == 6


def test_diagnostics_measure_each_tasks_gradient(run, tmp_path):
    run(tmp_path / "d", "training.diagnostics_steps=2", "training.max_train_steps=2")
    last = metrics(tmp_path / "d")[-1]
    assert all(last[f"train/gradient_norm/{task}"] > 0 for task in SIZES)
    assert -1 <= last["train/gradient_cosine/add/double"] <= 1


@pytest.mark.parametrize("watched", ["any", "all", "[add]"])
def test_early_stopping_watches_what_it_is_told(run, tmp_path, watched):
    run(
        tmp_path / "s", "optimizer.lr=0", "training.early_stopping_stall_num=1", f"training.early_stopping_on={watched}"
    )
    assert metrics(tmp_path / "s")[-1]["step"] == 2


def test_the_best_step_of_each_task_is_kept_and_pointed_to(run, tmp_path):
    run(tmp_path / "k", "checkpoint.keep=best_by_task", "checkpoint.saving_limit=1")
    checkpoints = tmp_path / "k" / "checkpoints"
    for task in SIZES:
        losses = {m["step"]: m[f"valid/loss/{task}"] for m in metrics(tmp_path / "k") if f"valid/loss/{task}" in m}
        best = min(losses, key=losses.get)
        assert (checkpoints / f"best-{task}").read_text().strip() == f"step_{int(best):06d}"
        assert (checkpoints / f"step_{int(best):06d}").is_dir()


@pytest.mark.filterwarnings("ignore")  # The compiler warns of what it does itself, and is quiet in a run.
@pytest.mark.slow
def test_compiled_layers_train_as_they_are(whole, run, tmp_path):
    run(tmp_path / "c", "training.torch_compile=true")
    for plain, compiled in zip(metrics(whole[0]), metrics(tmp_path / "c"), strict=True):
        assert compiled == pytest.approx(plain, rel=1e-4)
    assert 0 < torch._dynamo.utils.counters["stats"]["unique_graphs"] < 20  # whatever the lengths of the rows
    torch.compiler.reset()


def test_checkpointed_layers_are_not_compiled(run, tmp_path):
    with pytest.raises(UserError, match="gradient_checkpointing=false"):
        run(tmp_path / "c", "training.torch_compile=true", "model.gradient_checkpointing=true")
