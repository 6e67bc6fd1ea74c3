"""Compiling a network: one decoder layer is compiled, and its code serves them all."""

from __future__ import annotations

from torch import nn

from mftcoder.core.errors import UserError
from mftcoder.core.layers import decoder_layers


def compile_layers(net: nn.Module) -> None:
    """Let the decoder layers of `net` run as compiled code from their first call on, for rows of any length.

    What a layer does between its matrix products (norms, rotary embeddings, activations, sums) then takes one pass over
    memory in place of many, and less of it is kept for the backward pass. The whole model at once would take many times
    as long to compile, for little more. Names, weights and adapters of `net` stay as they are. Checkpointed layers
    run as they were. Raises UserError where there are no layers to be found.
    """
    layers = decoder_layers(net)
    if not layers:
        raise UserError("training.torch_compile: this model does not say which of its parts are layers; take false")
    for layer in layers:
        layer.compile(dynamic=True)
