"""4 bits: the gradients are those of the dequantised weights, also after an evaluation, and adapters learn."""

import pytest
import torch
from bitsandbytes.functional import dequantize_4bit
from bitsandbytes.nn import Linear4bit
from small_models import load, preset, save_random, shaken, some_ids
from torch import nn

from mftcoder.core.errors import UserError
from mftcoder.core.experts import split_experts


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_random("llama", tmp_path_factory.mktemp("llama"))


def adapted(llama, dtype="float32", quantised=True, **changes):
    quantization = preset("quantization/nf4", **changes) if quantised else None
    torch.manual_seed(0)
    return shaken(preset("peft/lora", lora_rank=2).adapt(load(llama, quantization=quantization, dtype=dtype)))


def step(net) -> tuple[float, torch.Tensor]:
    """The loss of a batch, and the gradient of all that trains."""
    net.zero_grad()
    loss = net(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in net.parameters() if p.requires_grad])


def frozen_bytes(net) -> list[torch.Tensor]:
    """Copies of what does not train, as bytes: packed weights that pose as floats may be NaN."""
    return [p.detach().clone().view(torch.uint8) for p in net.parameters() if not p.requires_grad]


@pytest.mark.parametrize("double_quant", [True, False])
def test_the_gradient_is_that_of_the_dequantised_weights(llama, double_quant):
    quantised = adapted(llama, double_quant=double_quant)
    plain = adapted(llama, quantised=False)
    layers = dict(quantised.named_modules())
    with torch.no_grad():
        for name, module in plain.named_modules():
            if isinstance(layers.get(name), Linear4bit):
                module.weight.copy_(dequantize_4bit(layers[name].weight, layers[name].weight.quant_state))
    torch.testing.assert_close(step(quantised), step(plain), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("storage", ["uint8", "bfloat16"])
def test_evaluation_leaves_the_next_gradient_alone(llama, dtype, storage, monkeypatch):
    """Also where bitsandbytes finds an AVX512-BF16 unit, for which it repacks weights in evaluation."""
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    net = adapted(llama, dtype=dtype, quant_storage=storage)
    before, gradient = step(net)
    packed = frozen_bytes(net)
    net.eval()
    with torch.no_grad():
        evaluated = net(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss.item()
    net.train()
    assert evaluated == before
    assert all(map(torch.equal, packed, frozen_bytes(net)))
    again, gradient_again = step(net)
    assert again == before
    assert torch.equal(gradient, gradient_again)


@pytest.mark.parametrize("checkpointing", [False, True])
def test_adapters_learn_and_the_base_stays(llama, checkpointing):
    base = load(llama, quantization=preset("quantization/nf4"), gradient_checkpointing=checkpointing)
    frozen = {name: p.detach().clone() for name, p in base.named_parameters()}
    assert not any(p.requires_grad for p in base.parameters())
    torch.manual_seed(0)
    net = preset("peft/lora", lora_rank=4).adapt(base)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=0.02)
    losses = []
    for _ in range(12):
        losses.append(step(net)[0])
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    now = {name.replace(".base_layer", "").removeprefix("base_model.model."): p for name, p in net.named_parameters()}
    assert all(torch.equal(now[name].data.view(torch.uint8), p.view(torch.uint8)) for name, p in frozen.items())


def test_only_linear_layers_are_packed_and_the_head_is_not(llama):
    net = load(llama, quantization=preset("quantization/nf4", quant_storage="bfloat16"), dtype="bfloat16")
    assert type(net.get_output_embeddings()) is nn.Linear
    packed = [m for m in net.modules() if isinstance(m, Linear4bit)]
    assert len(packed) == 14
    assert {m.weight.dtype for m in packed} == {torch.bfloat16}
    assert {p.dtype for p in net.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(("asked", "expected"), [("auto", torch.bfloat16), ("float32", torch.float32)])
def test_products_are_computed_in_the_asked_dtype(llama, asked, expected):
    net = load(llama, quantization=preset("quantization/nf4", compute_dtype=asked), dtype="bfloat16")
    assert {m.compute_dtype for m in net.modules() if isinstance(m, Linear4bit)} == {expected}


MIXTURES = ["mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2"]


@pytest.mark.parametrize("family", MIXTURES)
def test_the_experts_of_mixtures_are_quantised_to_the_byte(family, tmp_path, caplog):
    directory = save_random(family, tmp_path)
    whole = {name: p for name, p in load(directory).named_parameters() if p.ndim == 3}
    net = load(directory, quantization=preset("quantization/nf4", quant_storage="uint8", double_quant=False))
    experts = [p for name, p in net.named_parameters() if ".experts." in name]
    assert experts
    assert sum(p.nbytes for p in experts) == sum(p.numel() for p in whole.values()) / 2
    assert not [name for name, p in net.named_parameters() if p.ndim == 3]
    assert not caplog.records


@pytest.mark.parametrize("family", MIXTURES)
def test_lora_over_quantised_experts_is_lora_over_their_dequantised_weights(family, tmp_path):
    directory = save_random(family, tmp_path)
    torch.manual_seed(0)
    quantised = shaken(preset("peft/lora", lora_rank=2).adapt(load(directory, quantization=preset("quantization/nf4"))))
    base = load(directory)
    split_experts(base, lambda linear: linear)
    torch.manual_seed(0)
    plain = shaken(preset("peft/lora", lora_rank=2).adapt(base))
    layers = dict(quantised.named_modules())
    with torch.no_grad():
        for name, module in plain.named_modules():
            if isinstance(layers.get(name), Linear4bit):
                module.weight.copy_(dequantize_4bit(layers[name].weight, layers[name].weight.quant_state))
    assert any("experts" in name for name, p in quantised.named_parameters() if p.requires_grad)
    torch.testing.assert_close(step(quantised), step(plain), rtol=1e-4, atol=1e-6)


def test_experts_with_biases_stay_whole_and_are_named(tmp_path, caplog):
    load(save_random("gpt_oss", tmp_path), quantization=preset("quantization/nf4"))
    assert "down_proj, gate_up_proj" in caplog.text


def test_training_without_an_adapter_is_refused():
    nf4, lora = preset("quantization/nf4"), preset("peft/lora")
    assert ["peft=qlora" in reason for reason in nf4.conflicts({"peft": None})] == [True]
    assert list(nf4.conflicts({"peft": lora})) == []
    assert list(nf4.conflicts({})) == []  # verbs that do not train


def test_a_missing_bitsandbytes_is_one_clear_error(llama, monkeypatch):
    monkeypatch.setattr("transformers.quantizers.quantizer_bnb_4bit.is_bitsandbytes_available", lambda: False)
    with pytest.raises(UserError, match=r"needs a package that is not installed: .*bitsandbytes"):
        load(llama, quantization=preset("quantization/nf4"))
