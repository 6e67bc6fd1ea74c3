"""One process on one device."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from mftcoder.core.rng import seed_all
from mftcoder.engine import named, norm
from mftcoder.engine.base import Engine, MakeOptimizer, MixedPrecision
from mftcoder.engine.precision import Device, autocast, choose_device


class Single(Engine):
    """The plain case, and the reference that every other engine must equal.

    device: auto takes cuda, else mps, else cpu. mixed_precision: auto takes bf16 where a GPU has it.
    num_processes: for the launcher; 1. Raises ValueError for another number.
    """

    rank = 0
    world_size = 1

    def __init__(self, *, device: Device, mixed_precision: MixedPrecision, num_processes: int) -> None:
        if num_processes != 1:
            raise ValueError(
                f"engine.num_processes: {num_processes}, but engine=single runs one process; "
                "take engine=ddp, zero1, zero2, zero3 or fsdp2 for more"
            )
        self.device_choice = device
        self.mixed_precision = mixed_precision

    @override
    def start(self, *, seed: int) -> None:
        self.device = choose_device(self.device_choice)
        self.seed = seed
        seed_all(seed)

    @override
    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        self.model = model.to(self.device)
        self.optimizer = make_optimizer(self.model)
        seed_all(self.seed + self.rank)  # However much randomness the building of the model took.

    @override
    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.mixed_precision, self.device)

    @override
    def backward(self, loss: Tensor, *, last: bool) -> None:
        torch.autograd.backward(loss)

    @override
    def clip(self, max_norm: float | None) -> float:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        total = float(norm.squared(gradients).sqrt())
        norm.scale_down(gradients, total, max_norm)
        return total

    @override
    def step(self) -> None:
        self.optimizer.step()
        self.discard()

    @override
    def discard(self) -> None:
        self.optimizer.zero_grad(set_to_none=True)

    @override
    def sum(self, tensor: Tensor) -> Tensor:
        return tensor

    @override
    def share(self, value: Any) -> Any:
        return value

    @override
    def gather(self, value: Any) -> list[Any]:
        return [value]

    @override
    def weights(self) -> dict[str, Tensor]:
        return {name: p.detach().to("cpu", copy=True) for name, p in named.trainable(self.model).items()}

    @override
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        parameters = named.trainable(self.model)
        named.check(weights, {name: p.shape for name, p in parameters.items()})
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])

    @override
    def state_dict(self) -> dict[str, dict[str, Any]]:
        return named.optimizer_state(self.optimizer, self.model)

    @override
    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        named.load_optimizer_state(self.optimizer, self.model, state)

    @override
    def finish(self) -> None:
        pass
