"""The decoder layers of a network: what is sharded, and compiled, one by one."""

from __future__ import annotations

from torch import nn


def decoder_layers(net: nn.Module) -> list[nn.Module]:
    """Found by the class names with which transformers says what must stay in one piece; empty where it says none."""
    classes = {name for m in net.modules() for name in getattr(m, "_no_split_modules", None) or ()}
    return [m for m in net.modules() if type(m).__name__ in classes]
