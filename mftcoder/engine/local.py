"""What engines share whose every process holds all parameters and all of the optimizer's state."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor
from typing_extensions import override

from mftcoder.engine import parameters as named
from mftcoder.engine.base import Engine, MixedPrecision
from mftcoder.engine.device import autocast


class Local(Engine):
    """The part of an engine between backward and the next forward, with nothing sharded."""

    whole_gradients = True
    mixed_precision: MixedPrecision

    @override
    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.mixed_precision, self.device)

    @override
    def clip(self, max_norm: float | None) -> float:
        gradients = [p.grad for p in self.parameters() if p.grad is not None]
        total = float(named.squared_norm(gradients).sqrt())
        named.scale_down(gradients, total, max_norm)
        return total

    @override
    def weights(self) -> dict[str, Tensor]:
        if self.rank != 0:
            return {}
        return {name: p.detach().to("cpu", copy=True) for name, p in named.trainable(self.module).items()}

    @override
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        parameters = named.trainable(self.module)
        named.check(weights, {name: p.shape for name, p in parameters.items()})
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(weights[name])

    @override
    def state_dict(self) -> dict[str, dict[str, Any]]:
        return named.optimizer_state(self.optimizer, self.module) if self.rank == 0 else {}

    @override
    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        named.load_optimizer_state(self.optimizer, self.module, state)
