"""The contract of all quantizations."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationConfigMixin

from mftcoder.core.experts import split_experts

log = logging.getLogger(__name__)


class Quantization(ABC):
    """How the linear layers and the experts of a frozen base are stored; only adapters over them train."""

    @abstractmethod
    def config(self, dtype: torch.dtype) -> QuantizationConfigMixin:
        """What `from_pretrained` takes as quantization_config.

        Args:
            dtype: of everything that is not quantised.

        Raises:
            UserError: the library that quantises is not installed.
        """

    @property
    @abstractmethod
    def bits(self) -> float:
        """Of a weight in memory, with its share of the scales."""

    def conflicts(self, parts: Mapping[str, Any]) -> Iterable[str]:
        """Why it cannot run with the other components of a run."""
        if "peft" in parts and parts["peft"] is None:
            yield (
                "quantised weights cannot be trained, and peft=none trains nothing else; "
                "use peft=qlora (or peft=lora beside it), or quantization=none"
            )

    def prepare(self, net: PreTrainedModel, device: torch.device) -> None:
        """Make the just loaded `net` fit for training: freeze it, and quantise its experts onto `device`."""
        net.requires_grad_(False)
        split_experts(net, partial(self.quantised, net, device))
        stacked = {name: p for name, p in net.named_parameters() if p.ndim == 3}
        if stacked:
            names = ", ".join(sorted({name.rpartition(".")[2] for name in stacked}))
            log.warning(
                "%s GB of %s stay as they are: only linear layers are quantised, and the experts of %s are none (%s)",
                *(f"{sum(p.nbytes for p in stacked.values()) / 1e9:.1f}", net.name_or_path, type(net).__name__, names),
            )

    @abstractmethod
    def quantised(self, net: PreTrainedModel, device: torch.device, linear: nn.Linear) -> nn.Module:
        """`linear`, quantised on `device` as the library has quantised the layers of `net`."""
