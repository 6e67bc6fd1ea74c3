"""Architectures that can be packed pass; those that cannot are refused with the remedy."""

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mftcoder.core.errors import UserError
from mftcoder.model.loss_model import LossModel
from mftcoder.model.self_test import self_test

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64}
FAMILIES = {
    "llama": {"intermediate_size": 48},
    "bloom": {"n_head": 4, "n_layer": 2},
    "gpt_oss": {
        "num_key_value_heads": 2,
        "head_dim": 8,
        "num_local_experts": 4,
        "intermediate_size": 16,
        "layer_types": ["full_attention"] * 2,
    },
}


def model(family: str, *, packed: bool) -> LossModel:
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SMALL, **FAMILIES[family]))
    for name, parameter in net.named_parameters():
        if name.endswith("sinks"):
            torch.nn.init.ones_(parameter)
    return LossModel(net, loss_kernel="fused", packed=packed)


def test_llama_passes():
    self_test(model("llama", packed=True), padding_mode="pack")
    self_test(model("llama", packed=False), padding_mode="padding")


@pytest.mark.parametrize("family", ["bloom", "gpt_oss"])
def test_what_would_leak_is_refused(family):
    with pytest.raises(UserError, match="padding_mode=padding"):
        self_test(model(family, packed=True), padding_mode="pack")


def test_unknown_logits_are_refused():
    strange = model("llama", packed=True)
    strange.transform = type(strange.transform)(scale=1.5)
    with pytest.raises(UserError, match="differ from those of each alone by"):
        self_test(strange, padding_mode="pack")
