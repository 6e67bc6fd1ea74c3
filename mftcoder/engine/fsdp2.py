"""Fully sharded data parallelism: parameters, gradients and optimizer state; layers are gathered one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import CPUOffloadPolicy, FSDPModule, MixedPrecisionPolicy, OffloadPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from typing_extensions import override

from mftcoder.core.layers import decoder_layers
from mftcoder.engine import parameters as named
from mftcoder.engine.base import MakeOptimizer
from mftcoder.engine.device import uses_bf16
from mftcoder.engine.distributed import Distributed


@dataclass(kw_only=True, eq=False)
class FSDP2(Distributed):
    """PyTorch's fully_shard around each decoder layer and around the rest, with sums in place of means.

    With bf16, parameters are gathered as bfloat16, while the shards, the optimizer and the sums of gradients stay in
    the model's own precision. Distributed's parameters besides.

    Args:
        reshard_after_forward: drop a layer's parameters after its forward pass and gather them again for backward.
        accumulate_whole: sum gradients over the processes once a step, not with every micro-batch, and keep the whole
            of them meanwhile.
        offload: keep shards and optimizer state in the memory of the CPU.
    """

    reshard_after_forward: bool
    accumulate_whole: bool
    offload: Literal["none", "cpu"]

    sharded = True

    @override
    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        yield from super().conflicts(parts)
        yield from named.sharding_conflicts(parts)

    @override
    def _wrap(self, model: nn.Module, make_optimizer: MakeOptimizer) -> None:
        bf16 = uses_bf16(self.mixed_precision, self.device)
        named.check_shardable(model, bf16=bf16)
        for parameter in named.trainable(model).values():
            dist.broadcast(parameter.data, src=0)  # New weights are random: all ranks must shard the same.
        cuda = self.device.type == "cuda"
        mesh = init_device_mesh(self.device.type, (self.world_size,))
        self._process_groups.append(mesh.get_group())
        precision = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if bf16 else MixedPrecisionPolicy()
        options: dict[str, Any] = {
            "mesh": mesh,
            "offload_policy": CPUOffloadPolicy(pin_memory=cuda) if self.offload == "cpu" else OffloadPolicy(),
        }
        for layer in decoder_layers(model):
            fully_shard(layer, reshard_after_forward=self.reshard_after_forward, mp_policy=precision, **options)
        # The root keeps its parameters, so that the loss finds the output head whole. It must not cast its inputs,
        # which are counts and coefficients in float64.
        as_given = replace(precision, cast_forward_inputs=False)
        self.root: FSDPModule = fully_shard(model, reshard_after_forward=False, mp_policy=as_given, **options)
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(not cuda)  # Gloo cannot scale while it reduces.
        self.model = model
        self.optimizer = make_optimizer(model)

    @override
    def autocast(self) -> AbstractContextManager[Any]:
        return nullcontext()

    @override
    def _gradient_sync(self, *, last: bool) -> AbstractContextManager[Any]:
        self.root.set_requires_gradient_sync(last or not self.accumulate_whole)
        return nullcontext()

    @override
    def clip(self, max_norm: float | None) -> float:
        gradients = [_local(p.grad) for p in self.parameters() if p.grad is not None]
        total = float(self.sum(named.squared_norm(gradients)).sqrt())
        named.scale_down(gradients, total, max_norm)
        return total

    @override
    def weights(self) -> dict[str, Tensor]:
        return self._whole(self._trainable())

    @override
    def load_weights(self, weights: Mapping[str, Tensor]) -> None:
        parameters = self._trainable()
        named.check(weights, {name: p.shape for name, p in parameters.items()})
        with torch.no_grad():
            for name, parameter in parameters.items():
                _local(parameter).copy_(_local(_shard(weights[name], parameter)))

    @override
    def state_dict(self) -> dict[str, dict[str, Any]]:
        self._trainable()
        state = named.optimizer_state(self.optimizer, self.module)
        whole = {name: self._whole(values) for name, values in state.items()}
        return whole if self.rank == 0 else {}

    @override
    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        parameters = self._trainable()
        sharded = {
            name: {
                key: _shard(v, parameters[name]) if isinstance(v, Tensor) and v.shape == parameters[name].shape else v
                for key, v in values.items()
            }
            for name, values in state.items()
            if name in parameters
        }
        named.load_optimizer_state(self.optimizer, self.module, {**state, **sharded})

    def _trainable(self) -> dict[str, nn.Parameter]:
        """The trained parameters as shards: a forward pass without a backward pass leaves some of them gathered."""
        self.root.reshard()
        return named.trainable(self.module)

    def _whole(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The values with tensors whole and on the CPU, on rank 0; one at a time, for the memory of the others."""
        whole = {}
        for name, value in values.items():
            full = value.full_tensor() if isinstance(value, DTensor) else value
            if self.rank == 0:
                whole[name] = full.detach().to("cpu", copy=True) if isinstance(full, Tensor) else full
        return whole


def _local(tensor: Tensor) -> Tensor:
    """This rank's shard."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def _shard(whole: Tensor, like: nn.Parameter) -> Tensor:
    """This rank's shard of a tensor that all ranks have whole, sharded as the parameter `like` is."""
    if not isinstance(like, DTensor):
        return whole
    return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)
