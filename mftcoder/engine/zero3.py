"""ZeRO stage 3: the parameters too are cut up over all processes, from the moment they are loaded."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, cast

import torch
from torch import Tensor, nn
from typing_extensions import override

from mftcoder.engine import named
from mftcoder.engine.base import MakeOptimizer, MixedPrecision
from mftcoder.engine.deepspeed import DeepSpeed, Offload
from mftcoder.engine.precision import Device, uses_bf16
from mftcoder.engine.sharding import check_shardable


class Zero3(DeepSpeed):
    """DeepSpeed's ZeRO-3.

    With bf16, the parameters are bfloat16; the optimizer keeps them in float32, and gradients are summed in that.
    Without, all is float32. offload_optimizer: where the optimizer's state lives and is updated. offload_param: where
    parameters live while they are not computed with. The rest: see Distributed.
    """

    sharded = True
    norm_method = "_get_norm_groups"

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
        offload_optimizer: Offload,
        offload_param: Offload,
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
        self.stage = 3
        self.offload_optimizer = offload_optimizer
        self.offload_param = offload_param

    @override
    @contextmanager
    def building(self) -> Iterator[None]:
        from transformers.integrations.deepspeed import HfDeepSpeedConfig, unset_hf_deepspeed_config

        seen = HfDeepSpeedConfig(self.config())  # transformers looks for a living one when it loads a model.
        try:
            yield
        finally:
            unset_hf_deepspeed_config()
            del seen

    @override
    def config(self) -> dict[str, Any]:
        config = super().config()
        if self.offload_param == "cpu":
            place = {"device": "cpu", "pin_memory": self.device.type == "cuda"}
            config["zero_optimization"]["offload_param"] = place
        if uses_bf16(self.mixed_precision, self.device):
            config |= {
                "bf16": {"enabled": True},
                "data_types": {"grad_accum_dtype": "fp32"},
                "communication_data_type": "fp32",
            }
        return config

    @override
    def _wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        check_shardable(model, bf16=uses_bf16(self.mixed_precision, self.device))
        super()._wrap(model, make_optimizer)
        self._hold(cast(nn.Module, model.head))

    def _hold(self, head: nn.Module) -> None:
        """Keep the output head gathered all through a forward pass.

        The loss calls it once for each chunk of tokens, and the ranks have different numbers of them. DeepSpeed's hooks
        on it would have each rank gather in another order, and the ranks would wait for each other for ever.
        """
        from deepspeed.runtime.zero import register_external_parameter

        for parameter in head.parameters():
            register_external_parameter(self.module, parameter)
        for part in head.modules():
            part._forward_hooks.clear()
            part._forward_pre_hooks.clear()

    @override
    def _placed(self, model: nn.Module) -> nn.Module:
        return model

    @override
    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()

    @override
    def _shape(self, parameter: nn.Parameter) -> torch.Size:
        return cast(torch.Size, parameter.ds_shape)  # type: ignore[attr-defined]

    @override
    def _refresh(self, weights: Mapping[str, Tensor]) -> None:
        from deepspeed.runtime.zero import GatheredParameters

        for name, parameter in named.trainable(self.module).items():
            with GatheredParameters(parameter, modifier_rank=0):
                parameter.data.copy_(weights[name])

    @override
    def _link_states(self) -> None:
        pass  # Stage 3 looks them up whenever it needs them.

    @override
    def _groups(self) -> Iterator[tuple[list[nn.Parameter], Tensor]]:
        yield from zip(self.zero.fp16_groups, self.zero.fp32_partitioned_groups_flat, strict=True)
