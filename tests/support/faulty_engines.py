"""Engines on which something goes wrong on rank 1."""

from __future__ import annotations

import os
import signal
import time

from mftcoder.engine.base import Engine
from mftcoder.engine.ddp import DDP
from mftcoder.engine.fsdp2 import FSDP2
from mftcoder.engine.zero3 import Zero3


class Hanging(DDP):
    """Rank 1 sleeps for ever where its second step should be."""

    steps = 0

    def step(self) -> None:
        self.steps += 1
        if self.rank == 1 and self.steps == 2:
            time.sleep(3600)
        super().step()


class Poisoned(Engine):
    """The gradients of the fourth step are NaN on rank 1."""

    steps = 0

    def micro_batch(self, *, last):
        self.last = last
        self.steps += last
        return super().micro_batch(last=last)

    def backward(self, loss):
        super().backward(loss * float("nan") if (self.rank, self.steps, self.last) == (1, 4, True) else loss)


class PoisonedDDP(Poisoned, DDP):
    """With whole gradients on each rank."""


class PoisonedFSDP2(Poisoned, FSDP2):
    """With a part of each on each rank."""


class PoisonedZero3(Poisoned, Zero3):
    """The same, where DeepSpeed holds and clears them."""


class Stopping(DDP):
    """Rank 1 alone is asked to stop during the third step."""

    steps = 0

    def step(self) -> None:
        self.steps += 1
        if (self.rank, self.steps) == (1, 3):
            os.kill(os.getpid(), signal.SIGUSR1)
        super().step()
