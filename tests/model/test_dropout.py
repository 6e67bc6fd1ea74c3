"""The model's own dropout: off unless asked for, and as published in what is saved."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_models import load, preset, save_random
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, GPTBigCodeConfig

from mftcoder.model import dropout
from mftcoder.model.weights import save_model


@pytest.fixture(scope="module")
def bigcode(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its class default is 0.1 in three places."""
    return save_random("gpt_bigcode", tmp_path_factory.mktemp("bigcode"))


def active(net: nn.Module) -> set[float]:
    return {m.p for m in net.modules() if isinstance(m, nn.Dropout)}


@pytest.mark.parametrize(("asked", "expected"), [(0.0, {0.0}), (None, {0.1}), (0.25, {0.25})])
def test_the_rate_is_as_asked(bigcode: Path, asked: float | None, expected: set[float]) -> None:
    net = load(bigcode, dropout=asked)
    assert net.training
    assert active(net) == expected
    assert set(dropout.values(net.config)) == expected
    once, again = (net(input_ids=torch.arange(8)[None], use_cache=False).logits for _ in range(2))
    assert torch.equal(once, again) == (asked == 0.0)


def test_what_is_saved_has_the_published_rates(bigcode: Path, tmp_path: Path) -> None:
    net = load(bigcode)
    save_model(net, dict(net.named_parameters()), tmp_path, original_names=True)
    saved, published = (AutoConfig.from_pretrained(path) for path in (tmp_path, bigcode))
    assert dropout.values(saved) == dropout.values(published) == [0.1] * 3
    assert dropout.values(net.config) == [0.0] * 3


def test_rates_are_found_in_configs_within_configs_and_flags_are_none() -> None:
    inner = GPTBigCodeConfig(attn_pdrop=0.2)
    outer = GPTBigCodeConfig(resid_pdrop=0.3)
    outer.text, outer.token_dropout = inner, True
    found = {(part is inner, name): getattr(part, name) for part, name in dropout.rates(outer)}
    assert found[True, "attn_pdrop"] == 0.2
    assert found[False, "resid_pdrop"] == 0.3
    assert not any(name == "token_dropout" for _, name in found)


def test_a_module_with_a_rate_of_its_own_is_found_too() -> None:
    net: Any = AutoModelForCausalLM.from_config(GPTBigCodeConfig(n_embd=8, n_layer=1, n_head=2, vocab_size=16))
    net.extra = nn.Dropout(0.7)
    dropout.set_modules(net, 0.0)
    assert active(net) == {0.0}


def test_a_rate_beyond_one_is_refused() -> None:
    with pytest.raises(ValueError, match=r"model.dropout: 1.5 is not in"):
        preset("model/path", pretrained_model_path="x", dropout=1.5)
