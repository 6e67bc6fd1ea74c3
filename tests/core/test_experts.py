"""Experts as linear layers: the same function, and back to the stacks bit for bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_models import load, save_random, some_ids
from torch import nn

from mftcoder.core.experts import SplitExperts, restack_experts, split_experts


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2"])
def test_split_experts_compute_the_same_and_come_back_as_they_were(family: str, tmp_path: Path) -> None:
    net = load(save_random(family, tmp_path)).eval()
    names = {name: p.clone() for name, p in net.named_parameters()}
    with torch.no_grad():
        before = net(input_ids=some_ids(), use_cache=False).logits
        split_experts(net, lambda linear: linear)
        after = net(input_ids=some_ids(), use_cache=False).logits
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    assert any(isinstance(m, SplitExperts) for m in net.modules())
    assert not [name for name, p in net.named_parameters() if p.ndim == 3]
    restack_experts(net)
    now = dict(net.named_parameters())
    assert now.keys() == names.keys()
    assert all(torch.equal(now[name], p) for name, p in names.items())


def test_every_expert_gets_a_gradient_also_where_no_token_comes(tmp_path: Path) -> None:
    net = load(save_random("mixtral", tmp_path))
    split_experts(net, lambda linear: linear)
    experts = [m for m in net.modules() if isinstance(m, SplitExperts)]
    for linear in experts[0].children():
        assert isinstance(linear, nn.Linear)
        linear.requires_grad_()
    net(input_ids=some_ids()[:1, :1], labels=some_ids()[:1, :1], use_cache=False).logits.sum().backward()
    gradients = [linear.weight.grad for linear in experts[0].children()]
    assert all(gradient is not None for gradient in gradients)
    assert any(gradient.abs().sum() == 0 for gradient in gradients)
    assert any(gradient.abs().sum() > 0 for gradient in gradients)


def test_other_layers_are_left_alone(tmp_path: Path) -> None:
    for family in ("llama", "gpt_oss"):
        net = load(save_random(family, tmp_path / family))
        names = [name for name, _ in net.named_modules()]
        split_experts(net, lambda linear: linear)
        assert [name for name, _ in net.named_modules()] == names
