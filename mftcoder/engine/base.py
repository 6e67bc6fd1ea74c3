"""The contract of all engines."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

MixedPrecision = Literal["auto", "no", "bf16"]
MakeOptimizer = Callable[[nn.Module], torch.optim.Optimizer]


class Engine(ABC):
    """Runs the same step on one process or on many, and hides how.

    The loss of each micro-batch is already divided by the global counts, so an engine must sum gradients over
    micro-batches and ranks: whatever averaging its library does is undone here, exactly. As a part of the state of a
    run (state_dict, load_state_dict) it stands for its optimizer.

    Attributes:
        sharded: whether a process holds only a shard of the parameters, so that all must call `model` together.
        whole_gradients: whether the gradients lie whole in the parameters, where they may be taken out and replaced.
        context_parallel: number of successive ranks, the group, that take the same samples and share each packed row.
        group: the processes that share each row with this one; None where none do.
        rank: of this process, from 0; set by start, as are the next two.
        world_size: number of processes.
        device: what this process computes on.
        module: the model that was given to prepare, which sets this and the next two.
        model: the same, to be called.
        optimizer: over what is trained.
    """

    sharded: bool = False
    whole_gradients: bool = False
    context_parallel: int
    group: ProcessGroup | None = None
    mixed_precision: MixedPrecision
    rank: int
    world_size: int
    device: torch.device
    module: nn.Module
    model: nn.Module
    optimizer: torch.optim.Optimizer

    @property
    def data_rank(self) -> int:
        """The share of a global batch that this process works on, from 0."""
        return self.rank // self.context_parallel

    @property
    def data_ranks(self) -> int:
        """The number of shares of a global batch."""
        return self.world_size // self.context_parallel

    @abstractmethod
    def start(self, *, seed: int) -> None:
        """Joins the other processes, chooses the device, seeds all generators."""

    def building(self) -> AbstractContextManager[Any]:
        """The context in which the model is loaded, for engines that shard it meanwhile."""
        return nullcontext()

    @abstractmethod
    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        """Wraps the model, and makes the optimizer over what is then to be trained."""

    @contextmanager
    def micro_batch(self, *, last: bool) -> Iterator[None]:
        """Around the forward and the backward pass of one micro-batch; its forward pass runs under `autocast`.

        Args:
            last: whether the step is taken after it. Only then must gradients be summed over all ranks, although
                some engines sum them with every micro-batch.
        """
        with self._gradient_sync(last=last), self.autocast():
            yield

    def _gradient_sync(self, *, last: bool) -> AbstractContextManager[Any]:
        """The context in which a backward pass sums its gradients over all ranks if it is the `last`."""
        return nullcontext()

    @abstractmethod
    def autocast(self) -> AbstractContextManager[Any]:
        """The precision in which forward passes run; by itself, for those without a backward pass."""

    def backward(self, loss: Tensor) -> None:
        """Adds the gradient of `loss`, inside of `micro_batch`.

        Autocast is off meanwhile, as PyTorch advises: each operation runs in the precision of its forward pass.
        """
        with torch.autocast(self.device.type, enabled=False):
            self._backward(loss)

    def _backward(self, loss: Tensor) -> None:
        torch.autograd.backward(loss)

    @abstractmethod
    def clip(self, max_norm: float | None) -> float:
        """The global L2 norm of the gradient, which is scaled down to `max_norm` where that is given and exceeded."""

    def step(self) -> None:
        """Updates the parameters and clears the gradients."""
        self.optimizer.step()
        self.discard()

    def discard(self) -> None:
        """Clears the gradients and leaves the parameters as they are."""
        self.optimizer.zero_grad(set_to_none=True)

    @abstractmethod
    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of `tensor` over all ranks, on every rank."""

    @abstractmethod
    def share(self, value: Any) -> Any:
        """Rank 0's `value` (any picklable thing), on every rank."""

    @abstractmethod
    def gather(self, value: Any) -> list[Any]:
        """Every rank's `value` (any picklable thing), in the order of the ranks, on rank 0 (empty elsewhere)."""

    @abstractmethod
    def weights(self) -> dict[str, Tensor]:
        """All trainable parameters by name, whole, on the CPU, on rank 0 (empty elsewhere).

        Names are those of the model given to prepare.
        """

    @abstractmethod
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        """Sets the trainable parameters to what `weights()` gave, on any engine; every rank passes them.

        Raises:
            UserError: naming the parameters that are missing, unknown, or of another shape.
        """

    @abstractmethod
    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The optimizer's state of each parameter by its name, whole, on rank 0 (empty elsewhere)."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Continues with what `state_dict()` gave, on any engine; every rank passes it."""

    @abstractmethod
    def finish(self) -> None:
        """Leaves the other processes."""

    def parameters(self) -> Iterable[nn.Parameter]:
        """The trainable parameters."""
        return (p for p in self.model.parameters() if p.requires_grad)
