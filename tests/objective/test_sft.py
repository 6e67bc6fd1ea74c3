"""The objective on one micro-batch against transformers' plain logits, sample by sample, in float64."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
import pytest
import torch
from small_models import FAMILIES
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import LlamaForCausalLM

from mftcoder.core.batch import Sample
from mftcoder.core.coefficients import TokenWeights
from mftcoder.data.stream.collate import collate
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.objective.base import LossKernel
from mftcoder.objective.sft import SFT

# Task 1 is absent, task 2 has a single target, and the last sample has none at all.
SUPERVISED = [(0, "0011101"), (0, "00001"), (2, "0100"), (3, "011111"), (3, "000")]
COEFFICIENTS = torch.tensor([0.3, 0.7, 0.11, 0.05], dtype=torch.float64)


@pytest.fixture(scope="module")
def net() -> LlamaForCausalLM:
    torch.manual_seed(0)
    return LlamaForCausalLM(FAMILIES["llama"]()).double()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def samples() -> list[Sample]:
    generator = np.random.default_rng(0)
    return [
        Sample(
            ids=generator.integers(0, 250, len(digits)).astype(np.int32),
            supervised=np.array([digit == "1" for digit in digits]),
            task=task,
            index=index,
        )
        for index, (task, digits) in enumerate(SUPERVISED)
    ]


def reference(net: LlamaForCausalLM, samples: list[Sample], reduction: str) -> tuple[Tensor, list[float]]:
    """Each sample alone through the model: the loss, and the total of each task."""
    loss, totals = torch.zeros((), dtype=torch.float64), [0.0] * 4
    for sample in samples:
        ids = torch.from_numpy(sample.ids.astype(np.int64))[None]
        tokens = cross_entropy(net(input_ids=ids).logits[0, :-1], ids[0, 1:], reduction="none")
        tokens = tokens[torch.from_numpy(sample.supervised[1:])]
        if len(tokens):
            share = 1 if reduction == "token" else 1 / len(tokens)
            loss = loss + COEFFICIENTS[sample.task] * share * tokens.sum()
            totals[sample.task] += share * float(tokens.detach().sum())
    return loss, totals


@pytest.mark.parametrize("reduction", ["token", "sample"])
@pytest.mark.parametrize("mode", ["pack", "padding"])
@pytest.mark.parametrize("kernel", ["fused", "dense"])
def test_loss_totals_and_gradient(
    net: LlamaForCausalLM,
    samples: list[Sample],
    reduction: Literal["token", "sample"],
    mode: Literal["pack", "padding"],
    kernel: LossKernel,
) -> None:
    expected, expected_totals = reference(net, samples, reduction)
    gradients = torch.autograd.grad(expected, list(net.parameters()))
    objective = SFT(reduction=reduction, normalization="step", loss_kernel=kernel)
    model = LossModel(net, loss_kernel=kernel, packed=mode == "pack")
    loss, totals = objective.losses(model, collate(samples, padding_mode=mode, pad_id=258), TokenWeights(COEFFICIENTS))
    torch.testing.assert_close(loss, expected, rtol=1e-12, atol=0)
    assert totals.tolist() == pytest.approx(expected_totals, rel=1e-12)
    assert not totals.requires_grad
    for own, other in zip(torch.autograd.grad(loss, list(net.parameters())), gradients, strict=True):
        torch.testing.assert_close(own, other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize(("reduction", "expected"), [("token", [5, 0, 1, 5]), ("sample", [2, 0, 1, 1])])
def test_units_are_targets_or_samples_that_have_any(
    samples: list[Sample], reduction: Literal["token", "sample"], expected: list[float]
) -> None:
    objective = SFT(reduction=reduction, normalization="step", loss_kernel="fused")
    assert objective.denominators(collate(samples, padding_mode="pack", pad_id=258), 4).tolist() == expected


def test_a_batch_without_targets_is_a_zero_that_reaches_every_parameter(
    net: LlamaForCausalLM, samples: list[Sample]
) -> None:
    objective = SFT(reduction="token", normalization="step", loss_kernel="fused")
    model = LossModel(net, loss_kernel="fused", packed=True)
    loss, totals = objective.losses(
        model, collate(samples[-1:], padding_mode="pack", pad_id=258), TokenWeights(COEFFICIENTS)
    )
    assert loss.item() == 0
    assert totals.tolist() == [0, 0, 0, 0]
    gradients = torch.autograd.grad(loss, list(net.parameters()))
    assert all(math.isclose(float(gradient.abs().sum()), 0) for gradient in gradients)
