"""The verb export: any program loads what it writes, it answers as what was trained, and what does not is refused."""

import json

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from saved_runs import save_run
from small_models import load, preset, save_random, shaken, some_ids
from transformers import AutoModelForCausalLM, AutoTokenizer

from mftcoder.cli import config
from mftcoder.core.errors import UserError
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.weights import save_adapter
from mftcoder.verbs.export import export


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Saved runs by their overrides."""
    made = {}

    def get(*overrides):
        if overrides not in made:
            made[overrides] = save_run(tmp_path_factory.mktemp("run"), *overrides)
        return made[overrides]

    return get


def call(checkpoint, run_dir, *overrides):
    """The verb as the launcher calls it."""
    verb, parts = config.verb(config.load(f"checkpoint={checkpoint}", *overrides, config_name="export"))
    assert verb is export
    return verb(**parts, run_dir=run_dir)


def logits(directory) -> torch.Tensor:
    """Of the files, in float32, as any program would load them."""
    net = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)
    with torch.no_grad():
        return net.eval()(input_ids=some_ids()).logits


@pytest.mark.parametrize("peft", ["lora", "qlora", "none"])
def test_the_files_answer_as_what_was_trained(runs, peft, tmp_path, capsys):
    run = runs(f"peft={peft}")
    call(run.directory, tmp_path, "dtype=float32")
    torch.testing.assert_close(logits(tmp_path / "model"), run.logits, rtol=0, atol=1e-5)
    names = {path.name for path in tmp_path.glob("**/*")}
    assert not [name for name in names if "adapter" in name or name.startswith(".")]
    assert len(AutoTokenizer.from_pretrained(tmp_path / "model")) == 2048
    said = capsys.readouterr().out
    assert "the likeliest token is the same at 100.0%" in said
    assert ("merged against adapter" in said) == (peft != "none")
    assert ("quantised anew on this CPU" in said) == (peft == "qlora")


def test_the_tokenizer_puts_chats_as_they_were_trained(runs, tmp_path):
    call(runs("peft=lora").directory, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    messages = [{"role": "user", "content": "a\u00a0b"}]
    text = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert text == "<s>user\na\u00a0b\n<s>assistant\n"


def test_other_programs_end_answers_where_the_template_does(runs, tmp_path, monkeypatch):
    """vLLM and transformers read generation_config.json, and none of our templates."""
    monkeypatch.setattr("mftcoder.template.mftcoder.MFTCoder.ends", lambda self, tokenizer: frozenset(["<|pad|>"]))
    call(runs("peft=lora").directory, tmp_path)
    for file in ("generation_config.json", "config.json"):
        assert json.loads((tmp_path / "model" / file).read_text())["eos_token_id"] == [1, 2], file


def test_without_other_ends_the_base_keeps_its_own(runs, tmp_path):
    call(runs("peft=lora").directory, tmp_path)
    assert json.loads((tmp_path / "model" / "generation_config.json").read_text())["eos_token_id"] == 1


def test_bfloat16_is_half_the_size_and_near(runs, tmp_path, capsys):
    run = runs("peft=lora")
    call(run.directory, tmp_path)
    assert {t.dtype for t in load_file(tmp_path / "model" / "model.safetensors").values()} == {torch.bfloat16}
    assert 0 < (logits(tmp_path / "model") - run.logits).abs().max() < 0.05 * run.logits.abs().max()
    assert "(bfloat16) against the model as it was trained" in capsys.readouterr().out


def test_the_full_base_is_another_than_the_quantised_one(runs, tmp_path):
    """So a strict tolerance refuses it, and leaves nothing behind; a lax one lets it pass."""
    run = runs("peft=qlora")
    with pytest.raises(UserError, match=r"more than tolerance=1e-06: .* merge_into=trained"):
        call(run.directory, tmp_path, "merge_into=full", "dtype=float32", "tolerance=1e-6")
    assert list(tmp_path.iterdir()) == []
    call(run.directory, tmp_path, "merge_into=trained", "dtype=float32", "tolerance=1e-6", f"output={tmp_path}/a")
    call(run.directory, tmp_path, "merge_into=full", "dtype=float32", "tolerance=1", f"output={tmp_path}/b")
    assert (logits(tmp_path / "b") - run.logits).abs().max() > 10 * (logits(tmp_path / "a") - run.logits).abs().max()


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v2", "qwen2", "gpt_bigcode", "gemma2"])
def test_other_families_keep_the_names_of_their_published_files(family, tmp_path, tokenizer):
    """Stacked experts included; the adapter comes from any directory, without a run."""
    base = save_random(family, tmp_path / "base", tokenizer)
    net = shaken(preset("peft/lora", lora_rank=2).adapt(load(base)))
    (tmp_path / "adapter").mkdir()
    save_adapter(net, {name: p for name, p in net.named_parameters() if p.requires_grad}, tmp_path / "adapter")
    with torch.no_grad():
        expected = net.eval()(input_ids=some_ids()).logits
    path = f"model.pretrained_model_path={base}"
    call(tmp_path / "adapter", tmp_path, "model=path", path, "quantization=none", "template=native", "dtype=float32")
    torch.testing.assert_close(logits(tmp_path / "model"), expected, rtol=0, atol=1e-4)
    assert load_file(tmp_path / "model" / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()


def test_a_merge_that_goes_wrong_is_noticed(runs, tmp_path, monkeypatch):
    monkeypatch.setattr(PeftModel, "merge_and_unload", lambda net, **_: net.unload(), raising=False)
    with pytest.raises(UserError, match="merging changes the logits"):
        call(runs("peft=lora").directory, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_existing_directory_is_left_alone(runs, tmp_path):
    (tmp_path / "model").mkdir()
    with pytest.raises(UserError, match="exists already"):
        call(runs("peft=lora").directory, tmp_path)


def test_on_a_gpu_a_fully_trained_model_is_not_rounded_before_it_is_compared(runs, tmp_path, monkeypatch, capsys):
    """As CUDA answers: dtype=auto loads what is frozen in bfloat16 there, and what was trained is not."""
    monkeypatch.setattr(CausalLM, "_dtype", lambda self, device, *, frozen: torch.bfloat16 if frozen else torch.float32)
    run = runs("peft=none")
    call(run.directory, tmp_path, "dtype=float32")
    exported = load_file(tmp_path / "model" / "model.safetensors")
    trained = load_file(run.directory / "checkpoints" / "step_000002" / "model.safetensors")
    assert exported.keys() == trained.keys()
    assert all(torch.equal(exported[name], trained[name]) for name in trained)


@pytest.mark.parametrize("merge_into", ["trained", "full"])
def test_the_experts_of_a_quantised_mixture_are_stacked_again(tmp_path, tokenizer, merge_into):
    base = save_random("mixtral", tmp_path / "base", tokenizer)
    nf4 = preset("quantization/nf4")
    net = shaken(preset("peft/lora", lora_rank=2).adapt(load(base, quantization=nf4)))
    (tmp_path / "adapter").mkdir()
    save_adapter(net, {name: p for name, p in net.named_parameters() if p.requires_grad}, tmp_path / "adapter")
    with torch.no_grad():
        expected = net.eval()(input_ids=some_ids()).logits
    own = ("model=path", f"model.pretrained_model_path={base}", "quantization=nf4", "template=native")
    call(tmp_path / "adapter", tmp_path, *own, "dtype=float32", f"merge_into={merge_into}", "tolerance=1")
    allowed = 1e-4 if merge_into == "trained" else 0.5  # the full base sends some tokens to other experts
    assert (logits(tmp_path / "model") - expected).abs().mean() < allowed * expected.abs().mean()
    assert load_file(tmp_path / "model" / "model.safetensors").keys() == load_file(base / "model.safetensors").keys()
