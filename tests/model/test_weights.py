"""What a snapshot writes: other programs load it with the same logits, and it reads back to the bit."""

import json

import peft
import pytest
import torch
from safetensors.torch import load_file
from small_models import FAMILIES, load, preset, save_random, shaken, some_ids
from transformers import AutoModelForCausalLM, AutoTokenizer

from mftcoder.core.errors import UserError
from mftcoder.engine.single import Single
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.weights import ModelWeights, save_adapter
from mftcoder.peft.base import quiet

VARIANTS = {
    "lora": {},
    "dora": {"use_dora": True},
    "biases": {"bias": "all"},
    "own biases": {"bias": "lora_only"},
    "head": {"modules_to_save": ["lm_head"]},
    "embedding": {"target_modules": ["q_proj", "embed_tokens"]},
}


def engine_with(net) -> Single:
    engine = Single(device="cpu", mixed_precision="no", num_processes=1)
    engine.start(seed=0)
    whole = LossModel(net, loss_kernel="fused", packed=False)
    engine.prepare(whole, lambda m: torch.optim.SGD([p for p in m.parameters() if p.requires_grad]))
    return engine


def logits(net) -> torch.Tensor:
    return net.eval()(input_ids=some_ids(), use_cache=False).logits


def trained(net) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in net.named_parameters() if p.requires_grad}


def reopened(base, adapter) -> peft.PeftModel:
    """As any other program would load it."""
    with quiet():
        return peft.PeftModel.from_pretrained(base, str(adapter))


@pytest.mark.parametrize("variant", VARIANTS)
def test_an_adapter_loads_with_plain_peft_and_reads_back_to_the_bit(variant, tmp_path, tokenizer):
    base = save_random("qwen2" if "biases" in variant else "llama", tmp_path / "base", tokenizer)
    make = preset("peft/lora", lora_rank=4, **VARIANTS[variant])
    net = shaken(make.adapt(load(base)))
    expected, values = logits(net), trained(net)
    ModelWeights(engine_with(net), net, tokenizer).snapshot()(tmp_path / "step")

    config = json.loads((tmp_path / "step" / "adapter_config.json").read_text())
    plain = AutoModelForCausalLM.from_pretrained(config["base_model_name_or_path"], dtype=torch.float32)
    assert torch.equal(logits(reopened(plain, tmp_path / "step")), expected)
    assert AutoTokenizer.from_pretrained(tmp_path / "step").get_vocab() == tokenizer.get_vocab()

    fresh = make.adapt(load(base))
    ModelWeights(engine_with(fresh), fresh, tokenizer).load(tmp_path / "step")
    assert values.keys() == trained(fresh).keys()
    assert all(torch.equal(value, values[name]) for name, value in trained(fresh).items())


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v2"])
def test_adapters_over_experts_load_with_plain_peft(family, tmp_path, tokenizer):
    base = save_random(family, tmp_path / "base")
    net = shaken(preset("peft/lora", lora_rank=2).adapt(load(base)))
    ModelWeights(engine_with(net), net, tokenizer).snapshot()(tmp_path / "step")
    plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    torch.testing.assert_close(logits(reopened(plain, tmp_path / "step")), logits(net), rtol=0, atol=1e-6)


def test_an_adapter_over_4_bits_is_float32_and_loads_over_the_same(tmp_path, tokenizer):
    base, nf4 = save_random("llama", tmp_path / "base"), preset("quantization/nf4")
    net = shaken(preset("peft/lora").adapt(load(base, quantization=nf4, dtype="bfloat16")))
    ModelWeights(engine_with(net), net, tokenizer).snapshot()(tmp_path / "step")
    assert {t.dtype for t in load_file(tmp_path / "step" / "adapter_model.safetensors").values()} == {torch.float32}
    again = load(base, quantization=nf4, dtype="bfloat16")
    assert torch.equal(logits(reopened(again, tmp_path / "step")), logits(net))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_whole_model_loads_with_plain_transformers_and_reads_back_to_the_bit(family, tmp_path, tokenizer):
    base = save_random(family, tmp_path / "base")
    net = shaken(load(base, frozen=False), scale=0.02)
    expected, values = logits(net), trained(net)
    ModelWeights(engine_with(net), net, tokenizer).snapshot()(tmp_path / "step")

    plain = AutoModelForCausalLM.from_pretrained(tmp_path / "step", dtype=torch.float32)
    assert torch.equal(logits(plain), expected)
    assert plain.config.use_cache is True
    assert net.config.use_cache is False

    fresh = load(base, frozen=False)
    ModelWeights(engine_with(fresh), fresh, tokenizer).load(tmp_path / "step")
    assert all(torch.equal(value, values[name]) for name, value in trained(fresh).items())


def test_a_snapshot_does_not_see_what_happens_afterwards(tmp_path, tokenizer):
    net = load(save_random("llama", tmp_path / "base"), frozen=False)
    before = logits(net)
    write = ModelWeights(engine_with(net), net, tokenizer).snapshot()
    shaken(net)
    write(tmp_path / "step")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "step", dtype=torch.float32)), before)


def test_weights_of_another_kind_are_refused(tmp_path, tokenizer):
    base = save_random("llama", tmp_path / "base", tokenizer)
    whole = load(base, frozen=False)
    ModelWeights(engine_with(whole), whole, tokenizer).snapshot()(tmp_path / "whole")
    small = preset("peft/lora", target_modules=["q_proj"]).adapt(load(base))
    ModelWeights(engine_with(small), small, tokenizer).snapshot()(tmp_path / "small")

    large = preset("peft/lora").adapt(load(base))
    weights = ModelWeights(engine_with(large), large, tokenizer)
    with pytest.raises(UserError, match=r"holds no adapter_model.safetensors"):
        weights.load(tmp_path / "whole")
    with pytest.raises(UserError, match=r"belongs to another adapter; .*down_proj"):
        weights.load(tmp_path / "small")
    with pytest.raises(UserError, match=r"holds no model\*.safetensors"):
        ModelWeights(engine_with(whole), whole, tokenizer).load(tmp_path / "small")


def test_the_files_of_an_adapter_do_not_depend_on_the_order_of_sets(tmp_path):
    """PEFT keeps names in a set, whose order follows PYTHONHASHSEED."""
    net = preset("peft/lora").adapt(load(save_random("llama", tmp_path / "base")))
    config = net.peft_config["default"]
    assert len(config.target_modules) > 3
    tensors = {name: p for name, p in net.named_parameters() if p.requires_grad}
    written = []
    for index, names in enumerate((sorted(config.target_modules), sorted(config.target_modules, reverse=True))):
        config.target_modules = OddSet(names)
        directory = tmp_path / str(index)
        directory.mkdir()
        save_adapter(net, tensors, directory)
        written.append((directory / "adapter_config.json").read_bytes())
    assert written[0] == written[1]


class OddSet(set):
    """A set with the order of its making, as another hash seed would have it."""

    def __init__(self, names):
        super().__init__(names)
        self.names = list(names)

    def __iter__(self):
        return iter(self.names)

    def __deepcopy__(self, memo):
        return OddSet(self.names)
