"""A check at the start of a run that the model is exact: samples do not depend on each other, nor on earlier batches.

Two packs [A, B, C] and [A', B, C] of the same shape must give logits of B and C that are equal to the bit, in every
dtype: the same kernels then do the same sums. The same batch must give the same bits again after another one.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import cast

import numpy as np
import torch
from torch import Tensor
from transformers import PretrainedConfig

from mftcoder.core.batch import Batch, Sample
from mftcoder.core.errors import UserError
from mftcoder.data.stream.collate import PaddingMode, collate
from mftcoder.model.forward.loss_model import LossModel

LENGTHS = (9, 5, 14)
MOST_TOKENS = 1024  # of the longest sample: bounds what the test costs a large model
ROUNDING = {torch.float64: 1e-9, torch.float32: 1e-3, torch.bfloat16: 0.1, torch.float16: 0.02}

log = logging.getLogger(__name__)


@torch.no_grad()
def self_test(
    model: LossModel,
    *,
    padding_mode: PaddingMode,
    seq_length: int,
    precision: AbstractContextManager[object] | None = None,
) -> None:
    """Compare logits of three samples in different company, and with those of the bare network.

    Where experts are chosen, the shapes of their products follow the company, and bits with them: there values may
    differ by rounding, but the gradient of B's and C's logits in A's embeddings must be exactly zero.

    Args:
        seq_length: most tokens of a training sample. The longest sample here passes the sliding window, if that is
            within `seq_length` and MOST_TOKENS; stretched positions are refused by `check_length`.
        precision: the autocast that the engine computes in.

    Raises:
        UserError: samples see each other or earlier batches (linear attention, ALiBi, sinks), or the architecture does
            something to its logits that the fused loss does not know.
    """
    if next(model.parameters()).numel() == 0:  # ZeRO-3 holds shards only; the same model passes on any other engine
        return
    was_training = model.training
    model.eval()
    try:
        with precision or nullcontext():
            faults = _faults(model, padding_mode, _lengths(model.causal.config, seq_length))
    finally:
        model.train(was_training)
    if faults:
        packs = "" if padding_mode == "padding" else "; data.padding_mode=padding keeps its samples apart"
        raise UserError(
            f"{type(model.causal).__name__} cannot be trained exactly with data.padding_mode={padding_mode}: "
            f"{'; '.join(faults)}{packs}"
        )


def _faults(model: LossModel, padding_mode: PaddingMode, lengths: Sequence[int]) -> list[str]:
    """Everything that is not exact, in words."""
    samples, others = _samples(model, lengths, seed=0), _samples(model, lengths, seed=1)
    device = model.causal.device
    batch, beside, other = (
        collate(each, padding_mode=padding_mode, pad_id=0).to(device)
        for each in (samples, [others[0], *samples[1:]], others[::-1])
    )
    together = _rows(model, batch, lengths)
    faults = []
    if getattr(model.causal, "mixes_rows", None):
        log.warning("%s", model.causal.mixes_rows)
    else:
        changed = _difference(_rows(model, beside, lengths)[1:], together[1:])
        if changed > _allowed(model, together[0].dtype):
            faults.append(f"another first sample changes the logits of those after it by {changed:.1e} of their size")
        elif _routes(model) and padding_mode != "padding" and (reach := _reach(model, batch, lengths[0])):
            faults.append(f"the gradient of the other samples reaches the first one ({reach:.1e})")
        _rows(model, other, [len(s) for s in others[::-1]])
        again = _difference(_rows(model, batch, lengths), together)
        if again > _allowed(model, together[0].dtype):
            faults.append(f"after another batch, the logits of the same one differ by {again:.1e} of their size")
    alone = [_alone(model, sample) for sample in samples]
    error = _difference(together, alone)
    if not error <= ROUNDING[alone[0].dtype]:
        faults.append(f"its logits in one batch differ from those of each alone by {error:.1e} of their size")
    return faults


def _allowed(model: LossModel, dtype: torch.dtype) -> float:
    return ROUNDING[dtype] if _routes(model) else 0.0


def _routes(model: LossModel) -> bool:
    """Whether tokens are sent to experts, which then multiply as many rows as came."""
    return any(name.rpartition(".")[2] == "experts" for name, _ in model.causal.named_modules())


def _lengths(config: PretrainedConfig, seq_length: int) -> list[int]:
    """Tokens of the three samples; the last passes a sliding window of moderate size."""
    text = config.get_text_config()
    window = getattr(text, "sliding_window", None) or 0
    longest = window + 2 if LENGTHS[-1] < window + 2 <= MOST_TOKENS else LENGTHS[-1]
    return [min(length, seq_length) for length in (*LENGTHS[:-1], longest)]


def _samples(model: LossModel, lengths: Sequence[int], *, seed: int) -> list[Sample]:
    vocabulary = model.causal.get_input_embeddings().weight.shape[0]
    generator = np.random.default_rng(seed)
    ids = [generator.integers(vocabulary, size=length, dtype=np.int32) for length in lengths]
    return [Sample(own, np.ones(len(own), bool), 0, index) for index, own in enumerate(ids)]


def _alone(model: LossModel, sample: Sample) -> Tensor:
    """Logits [length, V] of the bare network."""
    ids = torch.from_numpy(sample.ids.astype(np.int64))[None].to(model.causal.device)
    return cast(Tensor, model.causal(input_ids=ids, use_cache=False).logits[0])


def _rows(model: LossModel, batch: Batch, lengths: Sequence[int]) -> list[Tensor]:
    """Our logits of each sample, [its length, V], all from one batch."""
    logits = model.logits(batch).view(*batch.input_ids.shape, -1)
    rows = logits.unbind() if batch.boundaries is None else torch.split(logits[0], list(lengths))
    return [row[:length] for row, length in zip(rows, lengths, strict=True)]


def _reach(model: LossModel, batch: Batch, length: int) -> float:
    """The largest derivative of the logits after the first sample in that sample's embeddings, [length, H]."""
    found: list[Tensor] = []

    def follow(module: torch.nn.Module, args: object, output: Tensor) -> Tensor:
        found.append(output.detach().requires_grad_())
        return found[0]

    handle = model.causal.get_input_embeddings().register_forward_hook(follow)
    try:
        with torch.enable_grad():
            hidden = model.hidden(batch)
            (gradient,) = torch.autograd.grad(hidden[length:].float().square().sum(), found)
    finally:
        handle.remove()
    return float(gradient[0, :length].abs().max())


def _difference(rows: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest difference as a part of the largest logit; NaN differs from everything."""
    scale = max(float(other.float().abs().max()) for other in others)
    errors = [float((row.float() - other.float()).abs().max()) / scale for row, other in zip(rows, others, strict=True)]
    return max((math.inf if math.isnan(error) else error for error in errors), default=0.0)
