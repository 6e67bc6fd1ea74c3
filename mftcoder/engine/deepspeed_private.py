"""What we need of DeepSpeed's ZeRO optimizers that it keeps private: known to hold for versions >= 0.19.8, < 0.20.

Nothing else in the project touches a private name of DeepSpeed. Each trick has a test of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

INVALID = -1.0  # the norm by which DeepSpeed marks gradients with an infinity or a NaN

Group = tuple[list[nn.Parameter], Tensor]


class ZeroInternals:
    """The ZeRO optimizer of stages 1 and 2.

    Args:
        optimizer: what `deepspeed.initialize` made of the torch optimizer.
    """

    norm_method = "scaled_global_norm"

    def __init__(self, optimizer: Any) -> None:
        self.optimizer = optimizer

    def norm(self) -> float:
        """The global L2 norm of the gradients, which DeepSpeed computes only inside of its step."""
        from deepspeed.runtime.utils import combine_grad_norm_groups

        return float(combine_grad_norm_groups(self._norms()))

    def _norms(self) -> Any:
        return [getattr(self.optimizer, self.norm_method)()]

    def divide_gradients(self, divisor: float) -> None:
        """Has the next step divide the gradients, as if the loss had been scaled."""
        self.optimizer.override_loss_scale(divisor)

    def refuse_next_step(self, device: torch.device) -> None:
        """Has DeepSpeed find the gradients invalid, so that its step only clears them: it has no other way to do it."""
        invalid = self._norm_as_deepspeed_has_it(torch.tensor(INVALID, device=device))
        setattr(self.optimizer, self.norm_method, lambda: invalid)

    def accept_steps(self) -> None:
        """Undoes `refuse_next_step`."""
        delattr(self.optimizer, self.norm_method)

    def _norm_as_deepspeed_has_it(self, norm: Tensor) -> Any:
        return norm

    def groups(self) -> list[Group]:
        """The parameters of each part of the optimizer, and this rank's flat float32 share of them."""
        return list(zip(self.optimizer.bit16_groups, self.optimizer.single_partition_of_fp32_groups, strict=True))

    def link_states(self) -> None:
        """Has DeepSpeed find the states of all groups: by itself it looks once, after the step of the first group."""
        self.optimizer._hp_optimizer_states_linked = False
        self.optimizer._lazy_init_hp_params_optimizer_state()

    def refresh(self, parameters: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
        """Has the forward pass see the weights that the optimizer holds."""
        self.optimizer.update_lp_params()

    def shape(self, parameter: nn.Parameter) -> torch.Size:
        """The shape of the whole parameter."""
        return parameter.shape


class Zero3Internals(ZeroInternals):
    """The ZeRO optimizer of stage 3."""

    norm_method = "_get_norm_groups"

    def _norms(self) -> Any:
        return getattr(self.optimizer, self.norm_method)()

    def _norm_as_deepspeed_has_it(self, norm: Tensor) -> Any:
        return [norm]

    def groups(self) -> list[Group]:
        """As for stages 1 and 2."""
        return list(zip(self.optimizer.fp16_groups, self.optimizer.fp32_partitioned_groups_flat, strict=True))

    def link_states(self) -> None:
        """Nothing: stage 3 looks states up whenever it needs them."""

    def refresh(self, parameters: Mapping[str, nn.Parameter], weights: Mapping[str, Tensor]) -> None:
        """Copies whole weights into the shards that the forward pass gathers."""
        from deepspeed.runtime.zero import GatheredParameters

        for name, parameter in parameters.items():
            with GatheredParameters(parameter, modifier_rank=0):
                parameter.data.copy_(weights[name])

    def shape(self, parameter: nn.Parameter) -> torch.Size:
        """The shape of the whole parameter, of which this rank holds a flat shard."""
        return cast(torch.Size, parameter.ds_shape)  # type: ignore[attr-defined]


def keep_gathered(module: nn.Module, head: nn.Module) -> None:
    """Keeps the output head gathered all through a forward pass of the module that has it.

    The loss calls the head once for each chunk of tokens, and the ranks have different numbers of chunks. DeepSpeed's
    hooks on it would have each rank gather in another order, and the ranks would wait for each other for ever.
    """
    from deepspeed.runtime.zero import register_external_parameter

    for parameter in head.parameters():
        register_external_parameter(module, parameter)
    for part in head.modules():
        part._forward_hooks.clear()
        part._forward_pre_hooks.clear()


def autocast_section(dtype: torch.dtype) -> dict[str, Any]:
    """The section of DeepSpeed's configuration without which its forward pass switches torch.autocast off on CUDA.

    No module is named as safe in lower precision: DeepSpeed would reduce the gradients of those in `dtype`.
    """
    name = str(dtype).removeprefix("torch.")
    return {"torch_autocast": {"enabled": True, "dtype": name, "lower_precision_safe_modules": []}}
