"""Attention within each sample of a packed row, on every back end.

A packed row carries its boundaries in the place of the attention mask, as int32 [1, 1, 1, S + 1] on the CPU:
transformers hands a four-dimensional mask through to the attention function as it is. So no quadratic mask is ever
built, and models need not know about packing. Where FlashAttention is chosen, it takes the same boundaries as
cumulative lengths.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from mftcoder.core.errors import UserError

NAME = "sdpa_packed"

Attention = Callable[..., tuple[Tensor, None]]


def use_packed_attention(net: PreTrainedModel, attention: Attention | None = None) -> None:
    """Let `net` attend within the samples of packed rows; FlashAttention does so already.

    attention: takes what `packed_attention` takes, and the place of either.
    """
    if attention is None and _is_flash(net):
        return
    # How samples are cut out of a row changes with every row, so layers are compiled around it.
    AttentionInterface.register(NAME, torch.compiler.disable(attention or packed_attention))  # type: ignore[no-untyped-call]
    AttentionMaskInterface.register(NAME, sdpa_mask)  # for everything that is not packed: padding, generation
    with suppress(ValueError):  # of architectures that refuse; others only warn
        net.set_attn_implementation(NAME)
    if net.config._attn_implementation != NAME:
        raise UserError(
            f"{type(net).__name__} has an attention of its own that cannot be replaced, so samples in a pack would see "
            "each other: use data.padding_mode=padding for this model"
        )


def packing_arguments(net: PreTrainedModel, boundaries: Tensor) -> dict[str, Any]:
    """The keyword arguments that tell the attention of `net` where the samples of a packed row begin, [S + 1] int32."""
    if not _is_flash(net):
        return {"attention_mask": boundaries.view(1, 1, 1, -1)}
    lengths, longest = boundaries.to(net.device), int(boundaries.diff().max())
    return {
        "attention_mask": None,
        **{"cu_seq_lens_q": lengths, "cu_seq_lens_k": lengths, "max_length_q": longest, "max_length_k": longest},
    }


def packed_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """Causal attention of query [1, heads, L, d] within each sample; plain SDPA where the mask holds no boundaries.

    Returns [1, L, heads, d]. A sliding window counts within the sample.
    """
    if attention_mask is None or attention_mask.dtype != torch.int32:
        output, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **kwargs)
        return output, None
    lengths = attention_mask.flatten().diff().tolist()
    options: dict[str, Any] = {"dropout_p": kwargs.get("dropout", 0.0), "scale": kwargs.get("scaling")}
    options["enable_gqa"] = query.shape[1] != key.shape[1]
    window = kwargs.get("sliding_window")
    parts = []
    # Split, not sliced: the backward pass then joins the gradients once, instead of adding rows full of zeros.
    for q, k, v in zip(*(torch.split(states, lengths, dim=2) for states in (query, key, value)), strict=True):
        if window is not None and q.shape[2] > window:
            options |= {"attn_mask": _band(q.shape[2], window, query.device), "is_causal": False}
        else:
            options |= {"attn_mask": None, "is_causal": True}
        parts.append(scaled_dot_product_attention(q, k, v, **options).transpose(1, 2))
    # Of a sample alone no copy, which would be kept for the backward pass beside what attention itself keeps.
    return torch.cat(parts, dim=1) if len(parts) > 1 else parts[0].contiguous(), None


def _band(length: int, window: int, device: torch.device) -> Tensor:
    """[length, length] bool: the last `window` positions up to and with the own one."""
    position = torch.arange(length, device=device)
    distance = position[:, None] - position[None, :]
    return (distance >= 0) & (distance < window)


def _is_flash(net: PreTrainedModel) -> bool:
    return "flash" in (net.config._attn_implementation or "")
