"""Every family of the presets, with the defaults of its own config: exact, and it learns."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import FAMILIES, load, preset, save_random, shaken
from torch import Tensor
from transformers import PreTrainedModel

from mftcoder.cli.config import conf_dir
from mftcoder.core.batch import Sample
from mftcoder.core.coefficients import TokenWeights
from mftcoder.core.errors import UserError
from mftcoder.data.stream.collate import PaddingMode, collate
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.forward.self_test import self_test

UNPACKED = {"gemma2", "gpt_oss"}  # attention of their own
LENGTHS = (30, 7, 19, 30, 5, 12, 30, 44)


def samples() -> list[Sample]:
    rng = np.random.default_rng(0)
    drawn = [rng.integers(0, 250, n, dtype=np.int32) for n in LENGTHS]
    return [Sample(ids, np.arange(len(ids)) > 2, i % 2, i) for i, ids in enumerate(drawn)]


def gradient(model: LossModel, splits: int, mode: PaddingMode) -> tuple[Tensor, Tensor]:
    """Of the trained parameters, and the totals of both tasks, with the batch in so many micro-batches."""
    model.zero_grad()
    totals = torch.zeros(2, dtype=torch.float64)
    size = len(LENGTHS) // splits
    for at in range(0, len(LENGTHS), size):
        batch = collate(samples()[at : at + size], padding_mode=mode, pad_id=0)
        weights = TokenWeights(torch.tensor([1 / 80, 1 / 90], dtype=torch.float64))
        loss, own = model(batch, torch.ones(size, dtype=torch.float64), weights)
        loss.backward()
        totals += own
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.requires_grad]), totals


@pytest.mark.parametrize("family", FAMILIES)
def test_a_family_is_exact_and_learns(family: str, tmp_path: Path) -> None:
    """In training mode: whatever draws or depends on neighbours shows between the splits."""
    mode: PaddingMode = "padding" if family in UNPACKED else "pack"
    net = shaken(preset("peft/lora", lora_rank=2).adapt(load(save_random(family, tmp_path))))
    model = LossModel(net, loss_kernel="fused", packed=mode == "pack").train()
    self_test(model, padding_mode=mode, seq_length=64)
    whole, totals = gradient(model, 1, mode)
    for splits in (2, 8):
        apart, own = gradient(model, splits, mode)
        torch.testing.assert_close(own, totals, rtol=1e-5, atol=0)
        assert (apart - whole).norm() < 1e-4 * whole.norm()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=2e-3)
    for _ in range(2):
        gradient(model, 1, mode)
        optimizer.step()
    assert gradient(model, 1, mode)[1].sum() < totals.sum()


@pytest.mark.parametrize("family", sorted(UNPACKED))
def test_what_cannot_be_packed_says_so(family: str, tmp_path: Path) -> None:
    net = load(save_random(family, tmp_path))
    with pytest.raises(UserError, match="padding_mode=padding"):
        _pack(net)


def _pack(net: PreTrainedModel) -> None:
    self_test(LossModel(net, loss_kernel="fused", packed=True), padding_mode="pack", seq_length=64)


def test_every_preset_names_a_family_that_is_tested_here() -> None:
    heads = {f.stem: f.read_text().splitlines()[:4] for f in (conf_dir() / "model").glob("[!_]*.yaml")}
    hubs = {stem: "\n".join(lines) for stem, lines in heads.items() if "# Licence: " in "\n".join(lines)}
    assert len(hubs) >= 31
    for stem, text in hubs.items():
        family = re.search(r"\((\w+)\)\.$", text.splitlines()[0])
        assert family is not None, stem
        assert family[1] in FAMILIES, stem
        for word in ("Context: ", "Ends with ", "Template: ", "LoRA: ", "Packing: "):
            assert word in text, (stem, word)
        assert ("Packing: no" in text) == (family[1] in UNPACKED), stem
