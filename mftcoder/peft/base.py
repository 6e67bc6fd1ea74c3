"""The contract of all parameter-efficient methods."""

from __future__ import annotations

from abc import ABC, abstractmethod

from peft import PeftModel
from transformers import PreTrainedModel


class Peft(ABC):
    """Small trained parts in or beside a frozen base."""

    @abstractmethod
    def adapt(self, net: PreTrainedModel) -> PeftModel:
        """Freeze `net` and put fresh adapters into it, drawn from torch's global generator.

        They train in float32 (float64 where the base does), whatever the base is stored in.
        Raises UserError where they fit nowhere.
        """
