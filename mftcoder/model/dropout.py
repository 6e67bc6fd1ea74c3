"""The dropout that a model's own config asks for, as opposed to that of adapters."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from transformers import PretrainedConfig


def rates(config: PretrainedConfig) -> Iterator[tuple[PretrainedConfig, str]]:
    """Every dropout rate of a config and of the configs inside it, as (config, name), always in the same order."""
    for name, value in sorted(vars(config).items()):
        if isinstance(value, PretrainedConfig):
            yield from rates(value)
        elif "drop" in name and isinstance(value, int | float) and not isinstance(value, bool):
            yield config, name


def values(config: PretrainedConfig) -> list[float]:
    """The rates themselves, in the order of `rates`."""
    return [getattr(part, name) for part, name in rates(config)]


def set_values(config: PretrainedConfig, wanted: list[float]) -> None:
    """Set the rates of `config`, which has as many as `wanted`, in the order of `rates`."""
    for (part, name), value in zip(list(rates(config)), wanted, strict=True):
        setattr(part, name, value)


def set_modules(net: nn.Module, rate: float) -> None:
    """Set the rate of every dropout module of `net`, also of those whose rate is fixed in the model's code."""
    for module in net.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
