"""A check at the start of a run that a model computes what we think: packed as alone, and our logits as its own."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from mftcoder.core.batch import Sample
from mftcoder.core.errors import UserError
from mftcoder.data.stream.collate import PaddingMode, collate
from mftcoder.model.loss_model import LossModel

LENGTHS = [9, 5, 14]
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}


@torch.no_grad()
def self_test(model: LossModel, *, padding_mode: PaddingMode) -> None:
    """Compare logits of three short samples in one batch with those that the bare network gives to each alone.

    Raises UserError where they differ by more than rounding: the architecture does not keep packed samples apart
    (bloom, gpt_oss), or does something to its logits that the fused loss does not know. Costs 28 tokens, twice.
    """
    if next(model.parameters()).numel() == 0:  # ZeRO-3 holds shards only; the same model passes on any other engine
        return
    was_training = model.training
    model.eval()
    samples = _samples(model.causal.get_input_embeddings().weight.shape[0])
    alone = [_alone(model, sample) for sample in samples]
    together = _together(model, samples, padding_mode)
    model.train(was_training)
    pairs = [(row[: len(one)].float(), one.float()) for row, one in zip(together, alone, strict=True)]
    scale = max(float(one.abs().max()) for _, one in pairs)
    error = max(float((row - one).abs().max()) for row, one in pairs) / scale
    if not error <= TOLERANCE[alone[0].dtype]:
        packs = "" if padding_mode == "padding" else "; data.padding_mode=padding keeps its samples apart"
        raise UserError(
            f"{type(model.causal).__name__}: its logits in one batch differ from those of each alone by {error:.1e} of "
            f"their size, so this architecture cannot be trained exactly with data.padding_mode={padding_mode}{packs}"
        )


def _samples(vocabulary: int) -> list[Sample]:
    generator = np.random.default_rng(0)
    ids = [generator.integers(vocabulary, size=length, dtype=np.int32) for length in LENGTHS]
    return [Sample(own, np.ones(len(own), bool), 0, index) for index, own in enumerate(ids)]


def _alone(model: LossModel, sample: Sample) -> Tensor:
    """Logits [length, V] of the bare network."""
    ids = torch.from_numpy(sample.ids.astype(np.int64))[None].to(model.causal.device)
    return cast(Tensor, model.causal(input_ids=ids, use_cache=False).logits[0])


def _together(model: LossModel, samples: list[Sample], padding_mode: PaddingMode) -> tuple[Tensor, ...]:
    """Our logits of each sample, [at least its length, V], all from one batch."""
    batch = collate(samples, padding_mode=padding_mode, pad_id=0).to(model.causal.device)
    logits = model.logits(batch).view(*batch.input_ids.shape, -1)
    return logits.unbind() if batch.boundaries is None else torch.split(logits[0], LENGTHS)
