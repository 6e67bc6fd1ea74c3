"""The contract of all quantizations."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from transformers import PreTrainedModel
from transformers.utils.quantization_config import QuantizationConfigMixin


class Quantization(ABC):
    """How the linear layers of a frozen base are stored: only adapters over them train, never they themselves."""

    @abstractmethod
    def config(self, dtype: torch.dtype) -> QuantizationConfigMixin:
        """What `from_pretrained` takes as quantization_config. dtype: that of everything that is not quantised.

        Raises UserError where the library that quantises is not installed.
        """

    @abstractmethod
    def prepare(self, net: PreTrainedModel) -> None:
        """Make the quantised, just loaded `net` fit for training: freeze it, and whatever else the library needs."""
