"""Data parallelism: every process holds the whole model, and gradients are summed while they are computed."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]
from torch.nn.parallel import DistributedDataParallel
from typing_extensions import override

from mftcoder.engine.base import MakeOptimizer
from mftcoder.engine.distributed import Distributed
from mftcoder.engine.local import Local


@dataclass(kw_only=True, eq=False)
class DDP(Distributed, Local):
    """PyTorch's DistributedDataParallel, with a sum in place of its mean, and Distributed's parameters besides.

    Args:
        find_unused_parameters: for models that leave some trained parameters out of a step (experts without tokens).
    """

    find_unused_parameters: bool

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
    """Reduces one bucket, without DDP's division by the number of processes."""
    future: torch.futures.Future[list[Tensor]] = dist.all_reduce(bucket.buffer(), async_op=True).get_future()
    return future.then(lambda done: done.value()[0])
