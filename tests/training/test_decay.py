"""Every trainable parameter is in exactly one group, and only matrices decay."""

from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from mftcoder.core.errors import UserError
from mftcoder.training.decay import decay_groups


class Experts(nn.Module):
    """Two experts whose biases are stacked, as in gpt_oss."""

    def __init__(self) -> None:
        super().__init__()
        self.down_proj = nn.Parameter(torch.ones(2, 4, 4))
        self.down_proj_bias = nn.Parameter(torch.ones(2, 4))
        self.norm = nn.LayerNorm(4)


def test_matrices_decay_and_norms_biases_and_stacked_biases_do_not() -> None:
    experts = Experts()
    decayed, undecayed = decay_groups(experts.named_parameters(), 0.1)
    assert decayed == {"params": [experts.down_proj], "weight_decay": 0.1}
    assert undecayed == {"params": [experts.down_proj_bias, experts.norm.weight, experts.norm.bias], "weight_decay": 0}


def test_every_trainable_parameter_of_a_llama_is_in_exactly_one_group() -> None:
    model = LlamaForCausalLM(
        LlamaConfig(
            hidden_size=16, intermediate_size=16, num_hidden_layers=2, num_attention_heads=2, vocab_size=32,
            attention_bias=True,
        )
    )  # fmt: skip
    model.model.embed_tokens.requires_grad_(False)
    groups = decay_groups(model.named_parameters(), 0.1)
    names = {parameter: name for name, parameter in model.named_parameters()}
    grouped = [names[p] for group in groups for p in group["params"]]
    assert sorted(grouped) == sorted(name for name in names.values() if "embed" not in name)
    undecayed = {names[p] for p in groups[1]["params"]}
    assert undecayed == {name for name in names.values() if re.search(r"norm|bias", name)}


def test_an_empty_group_is_left_out() -> None:
    assert [g["weight_decay"] for g in decay_groups(nn.Linear(2, 2, bias=False).named_parameters(), 0.1)] == [0.1]
    assert [g["weight_decay"] for g in decay_groups(nn.LayerNorm(2).named_parameters(), 0.1)] == [0.0]


def test_a_parameter_that_zero3_has_emptied_is_judged_by_its_true_shape() -> None:
    parameter = nn.Parameter(torch.empty(0))
    parameter.ds_shape = torch.Size([4, 4])  # type: ignore[attr-defined]
    (group,) = decay_groups([("weight", parameter)], 0.1)
    assert group["weight_decay"] == 0.1


def test_a_model_that_cannot_learn_is_refused_with_the_remedy() -> None:
    frozen = nn.Linear(2, 2).requires_grad_(False)
    with pytest.raises(UserError, match=r"none of [\d,]+ parameters is trainable; choose peft=lora"):
        decay_groups(frozen.named_parameters(), 0.1)


def test_only_the_decayed_group_shrinks_without_a_gradient() -> None:
    layer = nn.Linear(2, 2)
    before = [p.detach().clone() for p in layer.parameters()]
    optimizer = torch.optim.AdamW(decay_groups(layer.named_parameters(), 0.5), lr=0.1, weight_decay=9.0)
    for parameter in layer.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    torch.testing.assert_close(layer.weight.detach(), before[0] * (1 - 0.1 * 0.5))
    assert torch.equal(layer.bias.detach(), before[1])
