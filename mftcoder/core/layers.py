"""The decoder layers of a network: the unit of sharding and of compilation."""

from __future__ import annotations

from torch import nn

from mftcoder.core.errors import UserError


def decoder_layers(net: nn.Module) -> list[nn.Module]:
    """The modules that transformers declares unsplittable (`_no_split_modules`); empty where it declares none."""
    classes = {name for m in net.modules() for name in getattr(m, "_no_split_modules", None) or ()}
    return [m for m in net.modules() if type(m).__name__ in classes]


def compile_layers(net: nn.Module) -> None:
    """Compile each decoder layer in place, for rows of any length; the code of one layer serves all of its class.

    Norms, rotary embeddings, activations and sums then take one pass over memory, and keep less for the backward pass.
    Compiling the whole model would take many times as long for little more. Checkpointed layers stay uncompiled.

    Raises:
        UserError: the architecture does not declare its layers.
    """
    layers = decoder_layers(net)
    if not layers:
        raise UserError(
            f"training.torch_compile=true compiles decoder layers, and {type(net).__name__} does not declare any; "
            "take training.torch_compile=false"
        )
    for layer in layers:
        layer.compile(dynamic=True)
