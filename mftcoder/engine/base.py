"""The contract of all engines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, Literal

import torch
from torch import Tensor, nn

MixedPrecision = Literal["auto", "no", "bf16"]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


class Engine(ABC):
    """Runs the same step on one process or on many, and hides how.

    The loss of each micro-batch is already divided by the global counts, so an engine must sum gradients over
    micro-batches and ranks: whatever averaging its library does is undone here, exactly.

    rank, world_size, device: set by start. model, optimizer: set by prepare.
    """

    rank: int
    world_size: int
    device: torch.device
    model: nn.Module
    optimizer: torch.optim.Optimizer

    @abstractmethod
    def start(self, *, seed: int) -> None:
        """Join the other processes, choose the device, seed all generators."""

    @abstractmethod
    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        """Wrap the model, make the optimizer over what is then to be trained."""

    @abstractmethod
    def autocast(self) -> AbstractContextManager[Any]:
        """The precision in which forward passes run."""

    @abstractmethod
    def backward(self, loss: Tensor, *, last: bool) -> None:
        """Add the gradient of `loss`; with `last`, after which the step is taken, also that of all other ranks."""

    @abstractmethod
    def clip(self, max_norm: float | None) -> float:
        """The global L2 norm of the gradient, which is scaled down to `max_norm` where that is given and exceeded."""

    @abstractmethod
    def step(self) -> None:
        """Update the parameters and clear the gradients."""

    @abstractmethod
    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks, on every rank."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Rank 0's `value` (any picklable thing), on every rank."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """All trainable parameters by name, whole, on the CPU, on rank 0 (empty elsewhere)."""

    @abstractmethod
    def optimizer_state(self) -> dict[str, Any]:
        """The optimizer's state keyed by parameter name, whole, on rank 0 (empty elsewhere)."""

    @abstractmethod
    def finish(self) -> None:
        """Leave the other processes."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """The trainable parameters."""
        return (p for p in self.model.parameters() if p.requires_grad)
