"""One process on one device."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from typing_extensions import override

from mftcoder.core.rng import seed_all
from mftcoder.engine.base import MakeOptimizer, MixedPrecision
from mftcoder.engine.device import Device, choose_device
from mftcoder.engine.local import Local


class Single(Local):
    """The plain case, and the reference that every other engine must equal.

    Args:
        device: auto takes cuda where there is one, else cpu.
        mixed_precision: auto takes bf16 where a GPU computes in it.
        num_processes: for the launcher; always 1.

    Raises:
        ValueError: for another number of processes.
    """

    rank = 0
    world_size = 1
    context_parallel = 1

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
        self.model = self.module = model.to(self.device)
        self.optimizer = make_optimizer(self.model)
        seed_all(self.seed)  # However much randomness the building of the model took.

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
    def finish(self) -> None:
        pass
