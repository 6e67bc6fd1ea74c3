"""ZeRO stages 1 and 2: the optimizer's state, and with stage 2 the gradients, are sharded over all processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from mftcoder.engine.deepspeed import DeepSpeed, Offload


@dataclass(kw_only=True, eq=False)
class Zero(DeepSpeed):
    """DeepSpeed's ZeRO-1 and ZeRO-2, with Distributed's parameters besides.

    Args:
        stage: of ZeRO.
        offload_optimizer: where the optimizer's state is kept and updated.

    Source: Rajbhandari et al., arXiv:1910.02054.
    """

    stage: Literal[1, 2]
    offload_optimizer: Offload
