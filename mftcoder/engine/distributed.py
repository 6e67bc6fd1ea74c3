"""What engines share that run in several processes: joining them, and small exchanges between them."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import InitVar, dataclass
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import HashStore  # type: ignore[attr-defined]
from typing_extensions import override

from mftcoder.core.errors import UserError, raise_faults
from mftcoder.core.rng import seed_all
from mftcoder.engine.base import Engine, MakeOptimizer, MixedPrecision
from mftcoder.engine.boundary import Boundary
from mftcoder.engine.device import Device, choose_device

# Annotations are evaluated at once here: Python 3.10 cannot resolve an InitVar from a string.

KEPT_GROUPS: list[Any] = []
POSITIVE = ("num_processes", "num_nodes", "timeout_seconds", "context_parallel")


@dataclass(kw_only=True, eq=False)
class Distributed(Engine):
    """One of num_nodes * num_processes processes, each with a device of its own.

    Args:
        device: the device as chosen; auto takes cuda where there is one, else cpu.
        mixed_precision: auto takes bf16 where a GPU computes in it.
        num_processes: on each node; None for as many as were started.
        num_nodes: machines; None for as many as were started.
        rendezvous: host:port where the nodes meet, for the launcher.
        timeout_seconds: a process that waits longer than this for the others ends the run.
        context_parallel: number of processes that share the tokens of each row.

    Raises:
        ValueError: for numbers that are not above 0, or processes that do not form whole groups.
    """

    device: InitVar[Device]
    mixed_precision: MixedPrecision
    num_processes: int | None
    num_nodes: int | None
    rendezvous: str | None
    timeout_seconds: float
    context_parallel: int

    def __post_init__(self, device: Device) -> None:
        numbers = {name: getattr(self, name) for name in POSITIVE}
        raise_faults(
            [f"engine.{name}: {n} is not above 0" for name, n in numbers.items() if n is not None and n <= 0],
            ValueError,
        )
        self.device_choice = device
        if self.processes is not None:
            self._check_groups(self.processes)

    @property
    def processes(self) -> int | None:
        """Of all nodes; None where it is left to the launcher."""
        if self.num_processes is None or self.num_nodes is None:
            return None
        return self.num_processes * self.num_nodes

    @property
    def timeout(self) -> timedelta:
        """How long a process waits for the others."""
        return timedelta(seconds=self.timeout_seconds)

    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        """Why it cannot run with the other components of a run."""
        if self.context_parallel == 1:
            return
        if getattr(parts.get("data"), "padding_mode", None) == "padding":
            yield "context_parallel shares packed rows, and data.padding_mode=padding packs none; take pack or concat"
        if "flash" in (chosen := getattr(parts.get("model"), "attn_implementation", None) or ""):
            yield (
                f"context_parallel trades tokens for heads around torch's attention, not around {chosen}; "
                "take model.attn_implementation=sdpa, which on a GPU is FlashAttention too"
            )

    @override
    def start(self, *, seed: int) -> None:
        self.seed = seed
        self._check_world()
        self.device = _own_device(choose_device(self.device_choice))
        cuda = self.device.type == "cuda"
        backend = "cpu:gloo,cuda:nccl" if cuda else "gloo"
        joining: dict[str, Any] = {"backend": backend, "timeout": self.timeout}
        if "RANK" in os.environ:
            dist.init_process_group(**joining, device_id=self.device if cuda else None)
        else:
            dist.init_process_group(**joining, store=HashStore(), rank=0, world_size=1)
        self.rank, self.world_size = dist.get_rank(), dist.get_world_size()
        self._process_groups: list[Any] = [dist.group.WORLD]
        if self.context_parallel > 1:
            new_subgroups: Callable[..., Any] = dist.new_subgroups
            self.group, groups = new_subgroups(self.context_parallel, timeout=self.timeout)
            self._process_groups.extend(groups)
        seed_all(seed)  # The same everywhere, so that all build the same model.

    @override
    def prepare(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        self.module = model
        self._wrap(model, make_optimizer)
        Boundary(self.model, self.module)
        seed_all(self.seed + self.rank)  # Each rank drops out by itself.

    def _wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        """Sets model and optimizer."""
        raise NotImplementedError

    @override
    def sum(self, tensor: Tensor) -> Tensor:
        total = tensor.clone()
        dist.all_reduce(total)
        return total

    @override
    def share(self, value: Any) -> Any:
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    @override
    def gather(self, value: Any) -> list[Any]:
        values: list[Any] = [None] * self.world_size
        dist.gather_object(value, values if self.rank == 0 else None, dst=0)
        return values if self.rank == 0 else []

    @override
    def finish(self) -> None:
        dist.barrier()
        # To free a group is to wait for its threads while holding Python's lock, for which they may be waiting in turn
        # to free a tensor. So the groups are kept until the process ends.
        KEPT_GROUPS.extend(self._process_groups)
        dist.destroy_process_group()

    def _check_world(self) -> None:
        """Every library falls back to training one lonely copy in each process where this is wrong."""
        found = int(os.environ.get("WORLD_SIZE", "1"))
        if self.processes is not None and found != self.processes:
            raise UserError(
                f"engine.num_processes * engine.num_nodes is {self.processes}, but {found} process(es) were started "
                f"(WORLD_SIZE={os.environ.get('WORLD_SIZE', 'not set')}); give both the same number, or unset RANK "
                "and WORLD_SIZE if they are left over from another program"
            )
        self._check_groups(found)

    def _check_groups(self, processes: int) -> None:
        if processes % self.context_parallel:
            raise UserError(
                f"engine.context_parallel: {processes} process(es) cannot form groups of {self.context_parallel}; "
                "take a divisor"
            )


def _own_device(device: torch.device) -> torch.device:
    """This process's own GPU, or the device itself where it is no GPU.

    Raises:
        UserError: where the node has too few GPUs.
    """
    if device.type != "cuda":
        return device
    index = int(os.environ.get("LOCAL_RANK", "0"))
    if index >= torch.cuda.device_count():
        raise UserError(
            f"engine.num_processes: process {index} of this node (from 0) has no GPU of its own, the node has "
            f"{torch.cuda.device_count()}; start as many processes, or take engine.device=cpu"
        )
    torch.cuda.set_device(index)
    return torch.device("cuda", index)
