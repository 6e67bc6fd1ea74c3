"""ZeRO stages 1 and 2: the optimizer's state, and with stage 2 the gradients, are cut up over all processes."""

from __future__ import annotations

from typing import Literal

from mftcoder.engine.base import MixedPrecision
from mftcoder.engine.deepspeed import DeepSpeed, Offload
from mftcoder.engine.precision import Device


class Zero(DeepSpeed):
    """DeepSpeed's ZeRO-1 and ZeRO-2.

    stage: 1 or 2. offload_optimizer: where the optimizer's state lives and is updated. The rest: see Distributed.
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
        stage: Literal[1, 2],
        offload_optimizer: Offload,
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
        self.stage = stage
        self.offload_optimizer = offload_optimizer
