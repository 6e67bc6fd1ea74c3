"""A model without weights: how large it is, and what the backward pass of a micro-batch keeps, found by running it.

Its forward pass runs on fake tensors, which have shapes and no data, and whatever autograd saves is counted. So that
holds for every architecture, adapter and precision, and a model of any size takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.functional import scaled_dot_product_attention
from transformers import PreTrainedModel
from typing_extensions import override

from mftcoder.core.errors import UserError
from mftcoder.core.experts import SplitExperts, split_experts
from mftcoder.core.layers import decoder_layers
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.forward.attention import use_packed_attention
from mftcoder.peft.base import Peft
from mftcoder.quantization.base import Quantization


@dataclass(frozen=True, slots=True)
class Outline:
    """Sizes of a model with its adapter.

    trained, frozen: parameters; frozen_bytes: what those take that are frozen. layer: parameters of the largest decoder
    layer; rest: of all outside of them. kept: bytes that a micro-batch keeps for its backward pass; recomputed: those
    of one layer that is computed again there, if layers are; both None where that cannot be told from shapes.
    """

    architecture: str
    trained: int
    frozen: int
    frozen_bytes: float
    layer: int
    rest: int
    kept: int | None
    recomputed: int | None


def outline(
    model: CausalLM, peft: Peft | None, quantization: Quantization | None, *, rows: int, length: int, bf16: bool
) -> Outline:
    """The sizes of a model that is to train on micro-batches of `rows` packs of `length` tokens.

    bf16: on a device that computes in bfloat16. Raises UserError where its config cannot be read.
    """
    dtype = torch.bfloat16 if bf16 and peft is not None else torch.float32
    causal = model.sketch(dtype if model.dtype == "auto" else getattr(torch, model.dtype))
    layers = decoder_layers(causal)
    if quantization is not None:
        with torch.device("meta"):
            split_experts(causal, lambda linear: linear)
        _mark_quantised(layers)
    with torch.device("meta"):
        net = causal if peft is None else peft.adapt(causal)
    fakes = FakeTensorMode(allow_non_fake_inputs=True)
    with fakes:
        net.to_empty(device="cpu")
        causal.tie_weights()
        saved = partial(_saved, net, causal, _input(rows, length), bf16=bf16)
        kept, recomputed = _activations(saved, causal, checkpointing=model.gradient_checkpointing)
    bits = 0.0 if quantization is None else quantization.bits
    return Outline(
        architecture=type(causal).__name__,
        trained=_count(net, trains=True),
        frozen=_count(net, trains=False),
        frozen_bytes=_frozen_bytes(net, bits),
        layer=max(map(_count, layers), default=0),
        rest=_count(net) - sum(map(_count, layers)),
        kept=kept,
        recomputed=recomputed,
    )


class _Balanced(SplitExperts):
    """Gives every expert as many tokens, since where they would go cannot be told from shapes."""

    @override
    def forward(self, hidden_states: Tensor, top_k_index: Tensor, top_k_weights: Tensor) -> Tensor:
        rows = hidden_states.repeat_interleave(top_k_index.shape[1], dim=0).tensor_split(self.num_experts)
        weights = top_k_weights.reshape(-1, 1).tensor_split(self.num_experts)
        output = torch.zeros_like(hidden_states)
        for expert, (part, weight) in enumerate(zip(rows, weights, strict=True)):
            out = self.run_expert(expert, part.clone()) * weight
            token = torch.zeros(len(out), dtype=torch.int64, device=out.device)
            output.index_add_(0, token, out.to(output.dtype))
        return output


class _Quantised(nn.Linear):
    """Stands for a linear layer whose weight is stored in few bits: adapters treat it as they treat those."""


def _mark_quantised(layers: list[nn.Module]) -> None:
    """The linear layers and experts of the decoder layers; libraries leave the head as it is."""
    for module in (module for layer in layers for module in layer.modules()):
        if type(module) is nn.Linear:
            module.__class__ = _Quantised
        elif type(module) is SplitExperts:
            module.__class__ = _Balanced


def _count(module: nn.Module, *, trains: bool | None = None) -> int:
    return sum(p.numel() for p in module.parameters() if trains in (None, p.requires_grad))


def _frozen_bytes(net: nn.Module, bits: float) -> float:
    quantised = [module.weight for module in net.modules() if isinstance(module, _Quantised)]
    whole = sum(p.nbytes for p in net.parameters() if not p.requires_grad)
    return whole + sum(weight.numel() * bits / 8 - weight.nbytes for weight in quantised)


def _input(rows: int, length: int) -> dict[str, Any]:
    """A micro-batch; the mask says that rows are packed, so nobody makes one of [length, length]."""
    return {
        "input_ids": torch.zeros(rows, length, dtype=torch.int64),
        "position_ids": torch.zeros(rows, length, dtype=torch.int64),
        "attention_mask": torch.zeros(1, 1, 1, 2, dtype=torch.int32),
        "use_cache": False,
    }


def _activations(
    saved: Callable[[], int], causal: PreTrainedModel, *, checkpointing: bool
) -> tuple[int | None, int | None]:
    """Outline's kept and recomputed."""
    try:
        use_packed_attention(causal, _one_sample)
        kept = saved()
        if not checkpointing:
            return kept, 0
        # The same in transformers 5.20, as where it is enabled.
        getattr(causal, "activation_checkpointing_disable", causal.gradient_checkpointing_disable)()
        return kept, (saved() - kept) // len(decoder_layers(causal))
    except (RuntimeError, UserError):  # Some experts' shapes depend on data, some attention cannot be replaced.
        return None, None


def _saved(net: nn.Module, causal: PreTrainedModel, batch: dict[str, Any], *, bf16: bool) -> int:
    """Bytes that autograd saves in a forward pass up to the last hidden states, parameters apart."""
    own = {_storage(tensor) for tensor in (*net.parameters(), *net.buffers())}
    saved: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in own:
            saved.setdefault(_storage(tensor), tensor)
        return tensor

    backbone = getattr(causal, causal.base_model_prefix)
    precision = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
    with precision, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = backbone(**batch)[0]
    assert output.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in saved.values())


def _storage(tensor: Tensor) -> int:
    return cast(int, tensor.untyped_storage()._cdata)


def _one_sample(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **kwargs: Any
) -> tuple[Tensor, None]:
    """What packed_attention keeps of a row, without a look at where its samples begin: fakes hold no numbers."""
    shared = query.shape[1] != key.shape[1]
    scale = kwargs.get("scaling")
    output = scaled_dot_product_attention(query, key, value, is_causal=True, scale=scale, enable_gqa=shared)
    return output.transpose(1, 2).clone(), None  # Samples are joined into a copy.
