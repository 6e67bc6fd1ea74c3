"""Rows too long for one process: each of a group holds a part of the tokens, and attention trades them for heads.

All of a decoder but its attention works position by position, so N processes can share a packed row of L positions, L/N
each. Before attention, an all-to-all gives every process all positions of 1/N of the heads; after it, another gives it
all heads of its own positions (DeepSpeed-Ulysses, arXiv 2309.14509). In between is the ordinary packed attention, so
nothing is approximated. The loss of a row is the sum of its parts' losses, and engines sum gradients over all
processes: it does not matter to anything else that a row was shared.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from math import gcd
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import PreTrainedModel

from mftcoder.core.batch import IGNORED, Batch
from mftcoder.core.errors import UserError
from mftcoder.model.forward.attention import Attention, packed_attention
from mftcoder.model.positions import STRETCHED, rope_types


def shared_attention(net: PreTrainedModel, group: dist.ProcessGroup) -> Attention:
    """The attention of `net` where `group` shares each row. Raises UserError where it cannot be shared by so many."""
    config = net.config.get_text_config()
    if config.num_attention_heads % group.size():
        raise UserError(
            f"engine.context_parallel: {group.size()} processes cannot share the {config.num_attention_heads} "
            "attention heads of this model evenly; take a divisor of that"
        )
    if stretched := rope_types(net.config) & STRETCHED:
        raise UserError(
            f"engine.context_parallel: the {min(stretched)} position embeddings of this model depend on the length "
            "of the row, of which each process sees but a part; take engine.context_parallel=1"
        )
    return partial(_attend, group)


def own_part(batch: Batch, group: dist.ProcessGroup) -> Batch:
    """This process's positions [1, ceil(L / N)] of a packed batch that all of `group` have; its boundaries stay whole.

    Where N does not divide L, the row ends in a sample of positions without a target.
    """
    length = -(-batch.input_ids.shape[1] // group.size())
    missing = length * group.size() - batch.input_ids.shape[1]
    own = slice(group.rank() * length, (group.rank() + 1) * length)
    assert batch.boundaries is not None, "only packed rows are shared"
    end = batch.boundaries.new_full((min(missing, 1),), length * group.size())
    return replace(
        batch,
        input_ids=pad(batch.input_ids, (0, missing))[:, own],
        position_ids=pad(batch.position_ids, (0, missing))[:, own],
        labels=pad(batch.labels, (0, missing), value=IGNORED)[:, own],
        sample_ids=pad(batch.sample_ids, (0, missing))[:, own],
        boundaries=torch.cat([batch.boundaries, end]),
    )


def _attend(
    group: dist.ProcessGroup,
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Packed attention of this process's positions of a shared row: query [1, heads, L/N, d] to [1, L/N, heads, d].

    What is no part of a row, as in generation, is attended to alone.
    """
    if attention_mask is None or attention_mask.dtype != torch.int32 or attention_mask.flatten()[-1] == query.shape[2]:
        return packed_attention(module, query, key, value, attention_mask, **kwargs)
    copies = group.size() // gcd(group.size(), key.shape[1])
    key, value = (states.repeat_interleave(copies, dim=1) for states in (key, value))
    query, key, value = (_trade(states, group) for states in (query, key, value))
    output, _ = packed_attention(module, query, key, value, attention_mask, **kwargs)
    return _trade(output, group), None


def _trade(states: Tensor, group: dist.ProcessGroup) -> Tensor:
    """[1, heads, L/N, d] of own positions to [1, heads/N, L, d] of own heads, and [1, L, heads/N, d] back likewise."""
    parts = states.reshape(group.size(), -1, *states.shape[2:])
    received: Tensor = _Exchange.apply(parts, group)  # type: ignore[no-untyped-call]
    return received.transpose(0, 1).flatten(1, 2)[None]


class _Exchange(torch.autograd.Function):
    """Part i of [N, …] goes to process i of the group, and part i of the result came from there; its own adjoint."""

    @staticmethod
    def forward(ctx: Any, parts: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        return _exchanged(parts, group)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Tensor) -> tuple[Tensor, None]:
        return _exchanged(grad_outputs[0], ctx.group), None


def _exchanged(parts: Tensor, group: dist.ProcessGroup) -> Tensor:
    result = torch.empty_like(parts, memory_format=torch.contiguous_format)
    dist.all_to_all_single(result, parts.contiguous(), group=group)
    return result
