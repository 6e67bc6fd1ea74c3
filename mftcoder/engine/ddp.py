"""Data parallelism: every process holds the whole model, and gradients are summed while they are computed."""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from mftcoder.engine.base import MakeOptimizer, MixedPrecision
from mftcoder.engine.distributed import Distributed
from mftcoder.engine.local import Local
from mftcoder.engine.precision import Device


class DDP(Distributed, Local):
    """PyTorch's DistributedDataParallel, with a sum in place of its mean.

    find_unused_parameters: for models that leave some trained parameters out of a step (experts without tokens).
    The rest: see Distributed.
    """

    def __init__(
        self,
        *,
        device: Device,
        mixed_precision: MixedPrecision,
        num_processes: int | None,
        num_nodes: int | None,
        rendezvous: str | None,
        timeout_seconds: float,
        context_parallel: int,
        find_unused_parameters: bool,
    ) -> None:
        super().__init__(
            device=device,
            mixed_precision=mixed_precision,
            num_processes=num_processes,
            num_nodes=num_nodes,
            rendezvous=rendezvous,
            timeout_seconds=timeout_seconds,
            context_parallel=context_parallel,
        )
        self.find_unused_parameters = find_unused_parameters

    @override
    def _wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        model = model.to(self.device)
        self.wrapper = DistributedDataParallel(
            model,
            device_ids=[self.device.index] if self.device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            broadcast_buffers=False,  # They never change, and a rank without a task runs forward less often.
            find_unused_parameters=self.find_unused_parameters,
        )
        self.wrapper.register_comm_hook(None, _sum)
        self.model = self.wrapper
        self.optimizer = make_optimizer(model)

    @override
    def _gradient_sync(self, *, last: bool) -> AbstractContextManager[Any]:
        return nullcontext() if last else self.wrapper.no_sync()


# DDP reads these annotations, which is why this module does not postpone their evaluation.
def _sum(state: None, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """Reduce one bucket, without DDP's division by the number of processes."""
    future: torch.futures.Future[list[Tensor]] = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])
