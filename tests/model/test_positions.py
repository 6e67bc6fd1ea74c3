"""Sequences beyond a model's positions, or that would depend on others, are refused before anything is loaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_models import ENDS, SIZES, preset, save_random
from torch import Tensor
from transformers import AutoModelForCausalLM, BloomConfig, GPTBigCodeConfig, LlamaConfig, Phi3Config, PretrainedConfig

from mftcoder.core.batch import Sample
from mftcoder.core.errors import UserError
from mftcoder.data.stream.collate import collate
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.positions import check_length, max_length, original_length

THETA = {"rope_theta": 10000.0}
ORIGINAL = {"original_max_position_embeddings": 32}


def phi3() -> PretrainedConfig:
    factors = {"short_factor": [1.0] * 8, "long_factor": [1.0 + i for i in range(8)]}
    return Phi3Config(
        **SIZES, **ENDS, **ORIGINAL, rope_parameters={"rope_type": "longrope", **factors, **THETA, **ORIGINAL}
    )


def llama(kind: str, **more: Any) -> PretrainedConfig:
    stretched = {"rope_type": kind, "factor": 4.0, **THETA, **more}
    return LlamaConfig(**SIZES | {"max_position_embeddings": 128 if more else 32}, **ENDS, rope_parameters=stretched)


def dynamic() -> PretrainedConfig:
    return llama("dynamic")


def short_sample(config: PretrainedConfig, neighbour: int) -> Tensor:
    """The logits of 24 tokens in a pack beside `neighbour` others."""
    torch.manual_seed(0)
    net = AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, parameter in net.named_parameters():
            if any(part in name for part in ("q_proj", "k_proj", "qkv")):
                parameter.mul_(8.0)  # as attentive as a trained model
    model = LossModel(net, loss_kernel="fused", packed=True).eval()
    rng = np.random.default_rng(0)
    ids = [rng.integers(0, 250, n, dtype=np.int32) for n in (24, neighbour)]
    samples = [Sample(own, np.ones(len(own), bool), 0, i) for i, own in enumerate(ids)]
    return model.logits(collate(samples, padding_mode="pack", pad_id=0))[:24]


@pytest.mark.parametrize("make", [phi3, dynamic])
def test_stretched_positions_depend_on_neighbours_only_beyond_the_length_that_is_refused(make: Any) -> None:
    assert original_length(make()) == 32
    near, at, beyond = (short_sample(make(), neighbour) for neighbour in (8, 32, 60))
    torch.testing.assert_close(near, at, rtol=0, atol=1e-5)
    assert (beyond - near).abs().max() > 0.05 * near.abs().max()
    check_length(make(), 32)
    with pytest.raises(UserError, match=r"data.seq_length: 33 is beyond the 32 tokens .* data.seq_length=32"):
        check_length(make(), 33)


@pytest.mark.parametrize("kind", ["linear", "yarn"])
def test_other_stretched_positions_hold_up_to_the_models_own_length(kind: str) -> None:
    config = llama(kind, **ORIGINAL)
    check_length(config, 128)
    with pytest.raises(UserError, match=r"data.seq_length: 129 is beyond the 128 positions"):
        check_length(config, 129)


def test_learned_positions_end_in_a_sentence_and_no_limit_is_none() -> None:
    with pytest.raises(UserError, match="257 is beyond the 256 positions"):
        check_length(GPTBigCodeConfig(n_positions=256), 257)
    assert max_length(BloomConfig()) is None
    check_length(BloomConfig(), 10**6)


def test_the_config_of_a_model_is_asked_without_its_weights(tmp_path: Path) -> None:
    directory = save_random("llama", tmp_path)
    (directory / "model.safetensors").unlink()
    config = preset("model/path", pretrained_model_path=str(directory)).config()
    assert max_length(config) == SIZES["max_position_embeddings"]
