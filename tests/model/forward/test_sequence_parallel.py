"""A row that several ranks share, for many architectures: each rank is a thread here; test_parity.py has processes."""

import copy
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from small_models import FAMILIES
from transformers import AutoModelForCausalLM, LlamaConfig

from mftcoder.core.batch import Sample
from mftcoder.core.coefficients import TokenWeights
from mftcoder.core.errors import UserError
from mftcoder.data.stream.collate import collate
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.forward.self_test import self_test
from mftcoder.model.forward.sequence_parallel import own_part

SHARED = sorted(set(FAMILIES) - {"gemma2", "gpt_oss"})  # whose attention cannot be replaced
FLOAT32 = {"mixtral", "deepseek_v2", "qwen2_moe", "qwen3_moe"}  # grouped matrix products have no float64
ROUNDED = FLOAT32 | {"gemma", "gemma3_text"}  # whose norms compute in float32
UNITS, COEFFICIENTS = torch.ones(4, dtype=torch.float64), torch.tensor([0.5, 2.0], dtype=torch.float64)


class Group:
    """Takes the place of a process group of `number` threads."""

    def __init__(self, number: int) -> None:
        self.number, self.own = number, threading.local()
        self.barrier, self.sent = threading.Barrier(number, timeout=60), [torch.empty(0)] * number

    def size(self) -> int:
        return self.number

    def rank(self) -> int:
        return self.own.rank

    def all_to_all_single(self, result: torch.Tensor, parts: torch.Tensor, group: Any) -> None:
        assert group is self
        self.sent[self.rank()] = parts
        self.barrier.wait()
        result.copy_(torch.stack([sent[self.rank()] for sent in self.sent]))
        self.barrier.wait()

    def run(self, work: Callable[[], Any]) -> list[Any]:
        def on(rank: int) -> Any:
            self.own.rank = rank
            try:
                return work()
            except BaseException:
                self.barrier.abort()
                raise

        with ThreadPoolExecutor(self.number) as pool:
            return list(pool.map(on, range(self.number)))


@pytest.fixture(params=[2, 4])
def group(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Group:
    group = Group(request.param)
    monkeypatch.setattr("torch.distributed.all_to_all_single", group.all_to_all_single)
    return group


def net(family: str) -> Any:
    torch.manual_seed(0)
    dtype = torch.float32 if family in FLOAT32 else torch.float64
    return AutoModelForCausalLM.from_config(FAMILIES[family](), dtype=dtype).eval()  # No dropout, but gradients.


def batch() -> Any:
    """61 tokens in four samples, which neither 2 nor 4 divide; one is longer than mistral's window."""
    rng, sizes = np.random.default_rng(0), (41, 7, 1, 12)
    samples = [
        Sample(rng.integers(3, 250, n, dtype=np.int32), np.arange(n) > n // 3, i % 2, i) for i, n in enumerate(sizes)
    ]
    return collate(samples, padding_mode="pack", pad_id=0)


def step(model: LossModel) -> tuple[torch.Tensor, ...]:
    """Loss, totals and gradient."""
    loss, totals = model(batch(), UNITS, TokenWeights(COEFFICIENTS))
    loss.backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in model.parameters()]
    return loss.detach(), totals, torch.cat([g.flatten() for g in gradients])


@pytest.mark.parametrize("family", SHARED)
def test_the_parts_add_up_to_the_whole_row(family: str, group: Group) -> None:
    whole = net(family)
    expected = step(LossModel(copy.deepcopy(whole), loss_kernel="fused", packed=True))
    models = [
        LossModel(copy.deepcopy(whole), loss_kernel="fused", packed=True, group=group) for _ in range(group.size())
    ]
    parts = group.run(lambda: step(models[group.rank()]))
    summed = tuple(sum(part[i] for part in parts) for i in range(3))
    tolerance = {"rtol": 1e-4, "atol": 2e-6} if family in ROUNDED else {"rtol": 1e-12, "atol": 1e-13}
    torch.testing.assert_close(summed, expected, **tolerance)
    assert all(part[0] != expected[0] for part in parts)


def test_parts_are_of_one_length_and_together_the_row(group: Group) -> None:
    whole, parts = batch(), group.run(lambda: own_part(batch(), group))
    assert {part.input_ids.shape for part in parts} == {(1, 64 // group.size() - (group.size() == 2))}
    for name in ("input_ids", "position_ids", "labels", "sample_ids"):
        joined = torch.cat([getattr(part, name) for part in parts], dim=1)
        assert torch.equal(joined[:, :61], getattr(whole, name))
        assert not (joined[:, 61:] > 0).any()
    assert {part.boundaries[-1].item() for part in parts} == {parts[0].input_ids.shape[1] * group.size()}


def test_whole_rows_are_attended_to_alone(group: Group) -> None:
    """Those of the self-test and of generation."""
    whole = net("llama")
    expected = LossModel(copy.deepcopy(whole), loss_kernel="fused", packed=True).logits(batch())
    model = LossModel(whole, loss_kernel="fused", packed=True, group=group)
    torch.testing.assert_close(model.logits(batch()), expected, rtol=0, atol=0)
    self_test(model, padding_mode="pack", seq_length=64)
    ids, mask = torch.tensor([[0, 5, 6]]), torch.tensor([[0, 1, 1]])
    assert model.net.generate(ids, attention_mask=mask, max_new_tokens=3, do_sample=False).shape == (1, 6)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"num_attention_heads": 3, "num_key_value_heads": 3}, "cannot share the 3 attention heads"),
        (
            {"rope_parameters": {"rope_type": "dynamic", "factor": 2.0, "rope_theta": 1e4}},
            "dynamic position embeddings",
        ),
    ],
)
def test_models_that_cannot_be_shared_are_refused(changes: dict[str, Any], reason: str, group: Group) -> None:
    sizes = {"hidden_size": 48, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 4}
    small = AutoModelForCausalLM.from_config(LlamaConfig(**sizes | {"num_key_value_heads": 4} | changes, vocab_size=32))
    with pytest.raises(UserError, match=reason):
        LossModel(small, loss_kernel="fused", packed=True, group=group)


def test_padded_rows_are_refused(group: Group) -> None:
    with pytest.raises(UserError, match=r"packed rows only; take data\.padding_mode=pack"):
        LossModel(net("llama"), loss_kernel="fused", packed=False, group=group)
