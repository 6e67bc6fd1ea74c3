"""The contract of all parameter-efficient methods."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def quiet() -> Iterator[None]:
    """Without two warnings of PEFT 0.21 that mean nothing.

    It asks for gradient checkpointing by an old name, and it applies the ranks of stacked experts, but looks for them
    among the modules.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing`", FutureWarning)
        warnings.filterwarnings("ignore", "The following (rank|alpha)_pattern keys", RuntimeWarning)
        yield
