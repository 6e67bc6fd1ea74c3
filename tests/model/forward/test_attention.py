"""Packed rows against the same samples by themselves, for many architectures."""

import numpy as np
import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from mftcoder.core.batch import Sample
from mftcoder.data.stream.collate import collate
from mftcoder.model.forward.attention import packed_attention
from mftcoder.model.forward.loss_model import LossModel

SMALL = {
    "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 64,
    "max_position_embeddings": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
GQA = {"num_key_value_heads": 2}
MOE = {"num_local_experts": 4, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 24}
FAMILIES = {
    "llama": GQA,
    "mistral": {**GQA, "sliding_window": 3},
    "mixtral": {**GQA, **MOE},
    "qwen2": GQA,
    "qwen3": {**GQA, "head_dim": 8},
    "starcoder2": GQA,
    "gpt_neox": {},
    "gpt_bigcode": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "phi": {},
    "phi3": GQA,
    "gemma": {**GQA, "head_dim": 8},
    "granite": {**GQA, "logits_scaling": 3.0},
    "cohere": {**GQA, "logit_scale": 0.2},
}

ATOL = {torch.float64: 1e-12, torch.float32: 2e-6}


def net(family: str) -> torch.nn.Module:
    torch.manual_seed(0)
    config = AutoConfig.for_model(family, **{**SMALL, **FAMILIES[family]})
    dtype = torch.float32 if family == "mixtral" else torch.float64  # grouped matrix products have no float64
    return AutoModelForCausalLM.from_config(config, dtype=dtype).eval()


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    sizes = (7, 1, 12, 3)
    return [Sample(rng.integers(3, 64, n, dtype=np.int32), np.ones(n, bool), 0, i) for i, n in enumerate(sizes)]


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_equals_each_sample_alone_and_the_model_itself(family):
    whole = net(family)
    alone = [whole(torch.from_numpy(s.ids.astype(np.int64))[None], use_cache=False).logits[0] for s in samples()]
    model = LossModel(whole, loss_kernel="fused", packed=True)
    packed = model.logits(collate(samples(), padding_mode="pack", pad_id=0))
    torch.testing.assert_close(packed, torch.cat(alone).detach().to(packed), rtol=0, atol=ATOL[whole.dtype])


@pytest.mark.parametrize(("boundaries", "copies"), [([0, 16], 0), ([0, 5, 16], 1)])
def test_a_sample_alone_in_its_row_is_not_copied_for_the_backward_pass(boundaries, copies):
    """Attention keeps what it gives, the projection after it what it is given: the same, unless samples are joined."""
    states = [torch.randn(1, 16, 2, 8, requires_grad=True).transpose(1, 2) for _ in range(3)]  # as models lay them out
    weight = torch.randn(16, 16, requires_grad=True)
    kept = {}

    def keep(tensor):
        kept[tensor.untyped_storage().data_ptr()] = tensor  # held, so that no other takes its place
        return tensor

    mask = torch.tensor(boundaries, dtype=torch.int32).view(1, 1, 1, -1)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output, _ = packed_attention(torch.nn.Identity(), *states, mask)
        loss = (output.reshape(1, 16, 16) @ weight).sum()
    for tensor in (*states, weight):
        kept.pop(tensor.untyped_storage().data_ptr())
    statistics = 2 * 16  # of the softmax, of each head and position
    assert sum(tensor.numel() for tensor in kept.values()) == 256 * (1 + copies) + statistics
    loss.backward()


def test_padded_rows_are_right_without_a_mask():
    whole = net("llama")
    alone = [whole(torch.from_numpy(s.ids.astype(np.int64))[None]).logits[0] for s in samples()]
    batch = collate(samples(), padding_mode="padding", pad_id=0)
    rows = LossModel(whole, loss_kernel="fused", packed=False).logits(batch).view(*batch.input_ids.shape, -1)
    for row, one in zip(rows, alone, strict=True):
        torch.testing.assert_close(row[: len(one)], one.detach(), rtol=0, atol=1e-12)


def test_generation_with_left_padding_still_sees_its_mask():
    """The packed implementation must leave ordinary masks alone."""
    whole = net("llama")
    ids = torch.tensor([[0, 0, 5, 6], [7, 8, 9, 10]])
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1]])
    plain = whole.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False)
    LossModel(whole, loss_kernel="fused", packed=True)
    assert torch.equal(whole.generate(ids, attention_mask=mask, max_new_tokens=5, do_sample=False), plain)
