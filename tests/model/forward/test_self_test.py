"""Architectures that keep samples apart pass; those that do not are refused with the remedy, in every dtype."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mftcoder.core.errors import UserError
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.forward.self_test import self_test

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64, "pad_token_id": 0}
GQA = {"num_key_value_heads": 2, "intermediate_size": 48}
MOE = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama": {"intermediate_size": 48},
    "mistral": {**GQA, "sliding_window": 6},
    "mixtral": {**GQA, **MOE},
    "bloom": {"n_head": 4, "n_layer": 2},
    "gpt_oss": {**GQA, "head_dim": 8, "num_local_experts": 4, "layer_types": ["full_attention"] * 2},
    "lfm2": {**GQA, "layer_types": ["conv", "full_attention"]},
    "jamba": {**GQA, "num_experts": 2, "attn_layer_period": 2, "attn_layer_offset": 1, "use_mamba_kernels": False},
    "recurrent_gemma": {"intermediate_size": 48, "lru_width": 32, "num_hidden_layers": 3},
}


def model(family: str, *, packed: bool, dtype: torch.dtype = torch.float32) -> LossModel:
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SMALL | FAMILIES[family])).to(dtype)
    net.config.use_cache = False
    for name, parameter in net.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.ones_(parameter)
    return LossModel(net, loss_kernel="fused", packed=packed)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["llama", "mistral", "mixtral"])
def test_what_is_exact_passes(family, dtype):
    self_test(model(family, packed=True, dtype=dtype), padding_mode="pack", seq_length=64)
    self_test(model(family, packed=False, dtype=dtype), padding_mode="padding", seq_length=64)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["lfm2", "jamba", "recurrent_gemma"])
def test_what_leaks_a_little_is_refused_in_every_dtype(family, dtype):
    """Convolutions and recurrences: by less than bfloat16 rounds, so that no tolerance would see it."""
    with pytest.raises(UserError, match=r"padding_mode=padding keeps its samples apart"):
        self_test(model(family, packed=True, dtype=dtype), padding_mode="pack", seq_length=64)


@pytest.mark.parametrize("family", ["bloom", "gpt_oss"])
def test_attention_of_its_own_is_refused(family):
    with pytest.raises(UserError, match="padding_mode=padding"):
        self_test(model(family, packed=True), padding_mode="pack", seq_length=64)


def test_it_runs_in_the_precision_of_the_engine():
    seen = set()
    llama = model("llama", packed=True)
    llama.causal.model.layers[0].mlp.up_proj.register_forward_hook(lambda m, a, out: seen.add(out.dtype))
    precision = torch.autocast("cpu", torch.bfloat16)
    self_test(llama, padding_mode="pack", seq_length=64, precision=precision)
    assert seen == {torch.bfloat16}
    assert llama.training


def test_a_leak_between_batches_is_refused():
    """As of dynamic position embeddings, which remember the longest sequence that came."""
    strange = model("llama", packed=True)
    count = iter(range(1000))

    def drift(module, args, output):
        return output * (1 + 1e-6 * next(count))

    strange.causal.model.layers[0].register_forward_hook(drift)
    with pytest.raises(UserError, match="after another batch, the logits of the same one differ"):
        self_test(strange, padding_mode="padding", seq_length=64)


def test_a_leak_between_the_samples_of_a_mixture_is_found_by_its_gradient():
    mixtral = model("mixtral", packed=True, dtype=torch.bfloat16)

    def mix(module, args, output):
        return output + 1e-5 * output.mean(dim=1, keepdim=True)

    mixtral.causal.model.layers[0].register_forward_hook(mix)
    with pytest.raises(UserError, match="the gradient of the other samples reaches the first one"):
        self_test(mixtral, padding_mode="pack", seq_length=64)


def test_unknown_logits_are_refused():
    strange = model("llama", packed=True)
    strange.transform = type(strange.transform)(scale=1.5)
    with pytest.raises(UserError, match="differ from those of each alone by"):
        self_test(strange, padding_mode="pack", seq_length=64)


def test_what_says_that_it_mixes_rows_is_named_and_let_pass(caplog):
    llama = model("llama", packed=True)
    llama.causal.mixes_rows = "quantization.threshold=6.0: outlier columns"
    with caplog.at_level(logging.WARNING, "mftcoder"):
        self_test(llama, padding_mode="pack", seq_length=64)
    assert "outlier columns" in caplog.text


def test_samples_are_no_longer_than_what_is_trained_on():
    llama = model("mistral", packed=True)
    lengths = []
    llama.causal.model.embed_tokens.register_forward_hook(lambda m, a, out: lengths.append(out.shape[1]))
    self_test(llama, padding_mode="pack", seq_length=4)
    assert max(lengths) == 12
