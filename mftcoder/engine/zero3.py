"""ZeRO stage 3: the parameters too are sharded over all processes, from the moment they are loaded."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, cast

from torch import nn
from typing_extensions import override

from mftcoder.engine.base import MakeOptimizer
from mftcoder.engine.deepspeed import DeepSpeed, Offload
from mftcoder.engine.deepspeed_private import Zero3Internals, keep_gathered
from mftcoder.engine.device import uses_bf16
from mftcoder.engine.parameters import check_shardable


@dataclass(kw_only=True, eq=False)
class Zero3(DeepSpeed):
    """DeepSpeed's ZeRO-3, with Distributed's parameters besides.

    With bf16, the parameters are bfloat16; the optimizer keeps them in float32, and gradients are summed in that.
    Without, all is float32.

    Args:
        offload_optimizer: where the optimizer's state is kept and updated.
        offload_param: where parameters are kept while they are not computed with.

    Source: Rajbhandari et al., arXiv:1910.02054.
    """

    offload_optimizer: Offload
    offload_param: Offload

    stage = 3
    sharded = True
    internals = Zero3Internals

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
        return config

    @override
    def _precision(self) -> dict[str, Any]:
        if not uses_bf16(self.mixed_precision, self.device):
            return {}
        return {
            "bf16": {"enabled": True},
            "data_types": {"grad_accum_dtype": "fp32"},
            "communication_data_type": "fp32",
        }

    @override
    def _wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        check_shardable(model, bf16=uses_bf16(self.mixed_precision, self.device))
        super()._wrap(model, make_optimizer)
        keep_gathered(model, cast(nn.Module, model.head))

    @override
    def _placed(self, model: nn.Module) -> nn.Module:
        return model

    @override
    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()
