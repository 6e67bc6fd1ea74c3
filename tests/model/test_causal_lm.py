"""Loading: what is refused and how, dtypes, and training as loaded."""

import json
import shutil

import pytest
import torch
from small_models import FAMILIES, load, preset, save_random, shaken, some_ids
from transformers import PreTrainedTokenizerFast

from mftcoder.core.errors import UserError
from mftcoder.model.causal_lm import CausalLM

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def llama(tmp_path_factory, tokenizer):
    return save_random("llama", tmp_path_factory.mktemp("llama"), tokenizer)


def model(path, **changes) -> CausalLM:
    return preset("model/path", pretrained_model_path=str(path), **changes)


def test_loads_in_training_mode_without_a_cache(llama):
    net = load(llama)
    assert net.training
    assert net.config.use_cache is False
    assert net.name_or_path == str(llama.resolve())


@pytest.mark.parametrize("dtype", ["auto", "float32", "bfloat16", "float64"])
@pytest.mark.parametrize("frozen", [True, False])
def test_dtype_is_as_asked_whatever_the_files_hold(llama, dtype, frozen):
    expected = torch.float32 if dtype == "auto" else getattr(torch, dtype)  # this device is no GPU
    assert {p.dtype for p in load(llama, dtype=dtype, frozen=frozen).parameters()} == {expected}


def test_gradient_checkpointing_gives_the_same_gradient(llama):
    gradients = []
    for checkpointing in (False, True):
        net = load(llama, dtype="float64", gradient_checkpointing=checkpointing)
        calls = []
        net.model.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        net(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss.backward()
        assert len(calls) == 1 + checkpointing
        gradients.append(torch.cat([p.grad.flatten() for p in net.parameters()]))
    torch.testing.assert_close(*gradients, rtol=1e-12, atol=1e-12)


def test_a_local_copy_wins_where_it_exists(llama, tmp_path):
    source = model("some-hub/model", local_copy=str(llama)).source()
    assert source == str(llama.resolve())
    assert model("some-hub/model", local_copy=str(tmp_path / "absent")).source() == "some-hub/model"


def test_a_relative_path_becomes_absolute_so_that_adapters_find_their_base(llama, monkeypatch):
    monkeypatch.chdir(llama.parent)
    assert model(llama.name).source() == str(llama.resolve())


def test_an_absent_model_is_one_clear_error(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    absent = tmp_path / "nothing"
    for ask in (lambda m: m.tokenizer(), lambda m: m.load(None, CPU, frozen=True)):
        with pytest.raises(
            UserError, match=r"model.pretrained_model_path: the (model|tokenizer) of .*nothing"
        ) as error:
            ask(model(absent))
        assert "hub id" in str(error.value)


def test_missing_weights_are_refused_instead_of_drawn(llama, tmp_path):
    from safetensors.torch import load_file, save_file

    broken = tmp_path / "broken"
    shutil.copytree(llama, broken)
    tensors = load_file(broken / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, broken / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=r"no weights for model.layers.1.mlp.up_proj.weight"):
        load(broken)


def test_pickled_weights_are_refused(llama, tmp_path):
    pickled = tmp_path / "pickled"
    shutil.copytree(llama, pickled)
    torch.save(load(llama).state_dict(), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(UserError, match="pickled weights are refused"):
        load(pickled)


def test_code_in_a_model_directory_does_not_run_unless_asked(llama, tmp_path):
    directory = tmp_path / "remote"
    shutil.copytree(llama, directory)
    config = json.loads((directory / "config.json").read_text())
    config |= {"model_type": "custom", "auto_map": {"AutoConfig": "code.C", "AutoModelForCausalLM": "code.M"}}
    (directory / "config.json").write_text(json.dumps(config))
    (directory / "code.py").write_text(f"open({str(tmp_path / 'canary')!r}, 'w')")
    with pytest.raises(UserError, match="trust_remote_code"):
        load(directory)
    assert not (tmp_path / "canary").exists()


@pytest.mark.parametrize("revision", [None, "main", "abc123", "G" * 40])
def test_remote_code_needs_a_commit(revision):
    remote = model("some-hub/model", trust_remote_code=True, revision=revision)
    with pytest.raises(UserError, match="40 hex digits"):
        remote.load(None, CPU, frozen=True)
    with pytest.raises(UserError, match="40 hex digits"):
        remote.tokenizer()


def test_the_end_of_sequence_pads_where_nothing_else_does(llama, tmp_path, tokenizer):
    inner = tokenizer.backend_tokenizer
    PreTrainedTokenizerFast(tokenizer_object=inner, eos_token="</s>").save_pretrained(tmp_path)
    loaded = model(tmp_path).tokenizer()
    assert (loaded.pad_token, loaded.pad_token_id) == ("</s>", 257)
    assert model(llama).tokenizer().pad_token == "<pad>"


def test_a_tokenizer_without_an_end_is_refused(tmp_path, tokenizer):
    PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer).save_pretrained(tmp_path)
    with pytest.raises(UserError, match="no eos_token"):
        model(tmp_path).tokenizer()


def test_loading_needs_no_network(llama, monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    model(llama).tokenizer()
    load(llama)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_loads_adapts_and_learns(family, tmp_path):
    lora = preset("peft/lora", lora_rank=2)
    net = shaken(lora.adapt(load(save_random(family, tmp_path), gradient_checkpointing=True)))
    loss = net(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss
    loss.backward()
    gradients = [p.grad for p in net.parameters() if p.requires_grad]
    assert gradients
    assert all(g is not None and g.isfinite().all() and g.abs().sum() > 0 for g in gradients)


def test_weights_that_have_no_place_are_named(llama, tmp_path, caplog):
    from safetensors.torch import load_file, save_file

    odd = tmp_path / "odd"
    shutil.copytree(llama, odd)
    tensors = load_file(odd / "model.safetensors") | {"model.layers.9.strange.weight": torch.zeros(2)}
    save_file(tensors, odd / "model.safetensors", {"format": "pt"})
    load(odd)
    assert "no place for, and that are left out: model.layers.9.strange.weight" in caplog.text


def test_bfloat16_weights_that_train_themselves_are_refused_with_what_it_costs():
    reasons = list(model("x", dtype="bfloat16").conflicts({"peft": None}))
    assert ["15 % of them in place of 99.9 %" in reason for reason in reasons] == [True]
    assert list(model("x", dtype="bfloat16").conflicts({"peft": preset("peft/lora")})) == []
    assert list(model("x", dtype="bfloat16").conflicts({})) == []  # verbs that do not train
    assert list(model("x").conflicts({"peft": None})) == []


def test_the_commit_of_a_hub_model_is_known_and_goes_into_its_adapters(llama, tmp_path, monkeypatch):
    """A cache as huggingface_hub lays it out; main is a branch, and moves."""
    commit = "1" * 40
    cached = tmp_path / "models--some--model"
    shutil.copytree(llama, cached / "snapshots" / commit)
    (cached / "refs").mkdir()
    (cached / "refs" / "main").write_text(commit)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    hub = model("some/model")
    assert hub.commit() == commit
    adapted = preset("peft/lora").adapt(hub.load(None, CPU, frozen=True))
    assert adapted.peft_config["default"].revision == commit
    assert model(llama).commit() is None
