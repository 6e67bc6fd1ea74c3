"""The contract of all parameter-efficient methods."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import torch
from peft import PeftModel
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel


class Peft(ABC):
    """Small trained parts in or beside a frozen base."""

    def adapt(self, net: PreTrainedModel) -> PeftModel:
        """Freeze `net` and put fresh adapters into it, drawn from torch's global generator.

        All that trains is float32 (float64 where the base is), whatever the base is stored in: in bfloat16, an update
        of less than 1/256 of a weight is lost.

        Raises:
            UserError: the adapters fit nowhere.
        """
        adapted = self._insert(net)
        _train_in_float32(adapted)
        return adapted

    @abstractmethod
    def _insert(self, net: PreTrainedModel) -> PeftModel:
        """Freeze `net` and put fresh adapters into it."""


def _train_in_float32(net: PeftModel) -> None:
    """Cast all that trains; a module that trains whole gives its output in the dtype that the base computes in."""
    for module in net.modules():
        if isinstance(module, ModulesToSaveWrapper):
            dtype = next(module.parameters()).dtype
            for copied in module.modules_to_save.values():
                copied.forward = partial(_forward_between, dtype, copied, copied.forward)
    for parameter in filter(_is_coarse, net.parameters()):
        parameter.data = parameter.data.float()
        if hasattr(parameter, "ds_tensor"):  # this rank's shard, where ZeRO-3 has sharded the base
            parameter.ds_tensor.data = parameter.ds_tensor.data.float()
    assert not any(map(_is_coarse, net.parameters())), "every trained parameter is float32 or float64"


def _is_coarse(parameter: nn.Parameter) -> bool:
    return parameter.requires_grad and parameter.dtype.itemsize < 4


def _forward_between(dtype: torch.dtype, module: nn.Module, forward: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`forward` in the dtype of the module's weights, its output in `dtype`; no hook, since ZeRO-3 removes those."""
    own = next(module.parameters()).dtype
    return forward(x.to(own) if x.is_floating_point() else x).to(dtype)


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
