"""What the stages of DeepSpeed's ZeRO share."""

from __future__ import annotations

import copy
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from typing_extensions import override

from mftcoder.core.errors import UserError
from mftcoder.engine import parameters as named
from mftcoder.engine.base import MakeOptimizer
from mftcoder.engine.deepspeed_private import ZeroInternals, autocast_section
from mftcoder.engine.device import autocast, uses_bf16
from mftcoder.engine.distributed import Distributed

Offload = Literal["none", "cpu"]
BUCKET = 50_000_000  # gradients that are reduced at once; DeepSpeed would reserve room for ten times as many, 2 GB


class DeepSpeed(Distributed):
    """DeepSpeed's ZeRO, with sums in place of means, and clipping and skipping under our control.

    Args:
        stage: 1, 2 or 3.
        offload_optimizer: where the optimizer's state is kept and updated.
    """

    stage: int
    offload_optimizer: Offload

    internals: type[ZeroInternals] = ZeroInternals

    @override
    def start(self, *, seed: int) -> None:
        super().start(seed=seed)
        if self.device.type == "cpu":
            os.environ["DS_ACCELERATOR"] = "cpu"  # DeepSpeed looks at it once, when it is imported.

    @override
    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        yield from super().conflicts(parts)
        yield from named.sharding_conflicts(parts)

    @override
    def _wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        import deepspeed

        warnings.filterwarnings("ignore", r".*(all_gather_into|reduce_scatter)_tensor. is deprecated", FutureWarning)
        deepspeed.utils.logger.setLevel(logging.WARNING)
        _check_dtypes(model)
        optimizer = make_optimizer(self._placed(model))
        self.wrapper, *_ = deepspeed.initialize(
            model=model, optimizer=optimizer, config=self.config(), dist_init_required=False
        )
        self.zero = self.internals(self.wrapper.optimizer)
        self.model, self.optimizer = self.wrapper, optimizer

    def _placed(self, model: nn.Module) -> nn.Module:
        return model.to(self.device)

    def config(self) -> dict[str, Any]:
        """DeepSpeed's configuration, with every setting that would otherwise change the arithmetic."""
        stage: dict[str, Any] = {"stage": self.stage, "reduce_bucket_size": BUCKET}
        if self.offload_optimizer == "cpu":
            stage["offload_optimizer"] = {"device": "cpu", "pin_memory": self.device.type == "cuda"}
        return {
            "train_micro_batch_size_per_gpu": 1,
            "gradient_accumulation_steps": 1,
            "gradient_clipping": 0.0,  # Left out, it would be 1.
            "steps_per_print": None,
            "zero_allow_untested_optimizer": True,
            "zero_force_ds_cpu_optimizer": False,
            "zero_optimization": stage,
            **self._precision(),
        }

    def _precision(self) -> dict[str, Any]:
        """The part of the configuration by which forward passes run in bfloat16, where they do."""
        return autocast_section(torch.bfloat16) if uses_bf16(self.mixed_precision, self.device) else {}

    @override
    def autocast(self) -> AbstractContextManager[Any]:
        return autocast(self.mixed_precision, self.device)

    @override
    def _gradient_sync(self, *, last: bool) -> AbstractContextManager[Any]:
        self.wrapper.set_gradient_accumulation_boundary(last)
        return nullcontext()

    @override
    def _backward(self, loss: Tensor) -> None:
        self.wrapper.backward(loss * self.world_size, scale_wrt_gas=False)  # DeepSpeed divides by it.

    @override
    def clip(self, max_norm: float | None) -> float:
        total = self.zero.norm()
        if max_norm is not None and total > max_norm:
            self.zero.divide_gradients(total / max_norm)
        return total

    @override
    def step(self) -> None:
        self.wrapper.step()
        self.zero.divide_gradients(1.0)

    @override
    def discard(self) -> None:
        self.zero.refuse_next_step(self.device)
        self.step()
        self.zero.accept_steps()

    @override
    def weights(self) -> dict[str, Tensor]:
        from deepspeed.utils import safe_get_full_fp32_param

        return self._on_rank_0((name, safe_get_full_fp32_param(p)) for name, p in named.trainable(self.module).items())

    @override
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        from deepspeed.utils import safe_set_full_fp32_param

        parameters = named.trainable(self.module)
        named.check(weights, {name: self.zero.shape(p) for name, p in parameters.items()})
        for name, parameter in parameters.items():
            safe_set_full_fp32_param(parameter, weights[name].to(self.device, torch.float32))
        self.zero.refresh(parameters, weights)

    @override
    def state_dict(self) -> dict[str, dict[str, Any]]:
        from deepspeed.utils import safe_get_full_optimizer_state

        names = {id(p): name for name, p in named.trainable(self.module).items()}
        self.zero.link_states()
        state = {}
        for parameters, flat in self.zero.groups():
            values = self.optimizer.state.get(flat, {})
            sharded = [key for key, value in values.items() if _is_elementwise(value, flat.shape)]
            rest = {key: value for key, value in values.items() if key not in sharded}
            for p in parameters if values else ():
                whole = self._on_rank_0((key, safe_get_full_optimizer_state(p, key)) for key in sharded)
                state[names[id(p)]] = {**rest, **whole}
        return state if self.rank == 0 else {}

    @override
    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        from deepspeed.utils import safe_set_full_optimizer_state

        names = {id(p): name for name, p in named.trainable(self.module).items()}
        named.check_state(state, names.values())
        for parameters, flat in self.zero.groups():
            saved = [(p, state[names[id(p)]]) for p in parameters if names[id(p)] in state]
            for p, values in saved[:1]:
                self.optimizer.state[flat] = {
                    key: torch.zeros_like(flat) if _is_elementwise(v, self.zero.shape(p)) else copy.deepcopy(v)
                    for key, v in values.items()
                }
            self.zero.link_states()
            for p, values in saved:
                for key in filter(lambda key: _is_elementwise(values[key], self.zero.shape(p)), values):
                    safe_set_full_optimizer_state(p, values[key].to(self.device), key)

    def _on_rank_0(self, tensors: Iterator[tuple[str, Tensor]]) -> dict[str, Tensor]:
        """Copies on the CPU; on the other ranks nothing, but they must take part in the making of each."""
        return {name: t.detach().to("cpu", copy=True) for name, t in tensors if self.rank == 0}


def _is_elementwise(value: Any, shape: torch.Size) -> bool:
    """Whether a part of the optimizer's state has an entry for each element of its parameter, which has `shape`."""
    return isinstance(value, Tensor) and value.shape == shape


def _check_dtypes(model: nn.Module) -> None:
    """Raises UserError for trained weights that DeepSpeed would silently round to float32."""
    if wide := [name for name, p in named.trainable(model).items() if p.dtype == torch.float64]:
        raise UserError(
            f"DeepSpeed trains in float32, but {wide[0]} is {named.trainable(model)[wide[0]].dtype}: "
            "take model.dtype=float32 or engine=ddp"
        )
