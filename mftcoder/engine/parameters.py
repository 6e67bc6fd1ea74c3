"""Trained parameters, their gradients and optimizer state: by name, their norm, and which of them cannot be sharded.

By name is the form in which one engine hands weights and state to another.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mftcoder.core.errors import UserError, raise_faults

Shapes = Mapping[str, torch.Size]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The trained parameters by name, in the order of the model."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def check(weights: Mapping[str, Tensor], shapes: Shapes) -> None:
    """Compares saved weights with the trained parameters.

    Args:
        weights: what was saved.
        shapes: the shape of each trained parameter.

    Raises:
        UserError: with every parameter that is missing, unknown, or of another shape.
    """
    faults = [f"{name}: missing" for name in shapes if name not in weights]
    for name, weight in weights.items():
        if name not in shapes:
            faults.append(f"{name}: not a trained parameter of this model")
        elif weight.shape != shapes[name]:
            faults.append(f"{name}: shape {list(weight.shape)} instead of {list(shapes[name])}")
    if faults:
        raise_faults(["The saved weights do not fit the model:", *faults])


def check_state(state: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raises UserError where the saved optimizer state has parameters that are not among the trained `names`."""
    if unknown := sorted(set(state) - set(names)):
        raise UserError(f"The saved optimizer state has parameters that this run does not train: {', '.join(unknown)}")


def optimizer_state(optimizer: torch.optim.Optimizer, model: nn.Module) -> dict[str, dict[str, Any]]:
    """The optimizer's state of each parameter that has one.

    Learning rates and other settings are left out: they follow from the configuration and the step.
    """
    state = optimizer.state_dict()["state"]
    return {name: state[i] for i, name in enumerate(_names(optimizer, model)) if i in state}


def load_optimizer_state(
    optimizer: torch.optim.Optimizer, model: nn.Module, state: Mapping[str, dict[str, Any]]
) -> None:
    """Continues with what `optimizer_state` gave.

    Raises:
        UserError: for parameters that the optimizer does not have.
    """
    names = _names(optimizer, model)
    check_state(state, names)
    current = optimizer.state_dict()
    current["state"] = {i: state[name] for i, name in enumerate(names) if name in state}
    optimizer.load_state_dict(current)


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[str]:
    """The names of the optimizer's parameters, in its order."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]


def squared_norm(gradients: Sequence[Tensor]) -> Tensor:
    """The sum of squares of all gradients: a float64 scalar on the CPU.

    Norms are taken tensor by tensor in at least float32 and added in float64, since bfloat16 would round them to
    three digits and the squares of float32 could overflow.
    """
    norms: list[Tensor] = []
    for dtype in {g.dtype for g in gradients}:
        same = [g for g in gradients if g.dtype == dtype]
        norms += torch._foreach_norm(same, 2, dtype=torch.promote_types(dtype, torch.float32))
    if not norms:
        return torch.zeros((), dtype=torch.float64)
    wide = torch.promote_types(torch.float32, norms[0].dtype)
    return torch.stack([n.to(wide) for n in norms]).cpu().double().square().sum()


def scale_down(gradients: Sequence[Tensor], norm: float, max_norm: float | None) -> None:
    """Clips the gradients to a global norm.

    Args:
        gradients: of all parameters; scaled in place.
        norm: their global L2 norm.
        max_norm: what it becomes if it is larger; None for no limit.
    """
    if max_norm is not None and norm > max_norm:
        torch._foreach_mul_(list(gradients), max_norm / norm)


def sharding_conflicts(parts: Mapping[str, Any]) -> Iterator[str]:
    """Why an engine that shards gradients or optimizer state cannot run with the other components of a run."""
    if getattr(parts.get("training"), "diagnostics_steps", None) is not None:
        yield (
            "training.diagnostics_steps takes the gradients of the tasks apart, and this engine has no gradient whole; "
            "leave it null, or use engine=single or engine=ddp"
        )
    optimizer: Any = getattr(parts.get("optimizer"), "func", None)
    if getattr(optimizer, "__module__", "").startswith("bitsandbytes."):
        yield (
            f"this engine shards the optimizer's state, which {optimizer.__name__} keeps in blocks of 8-bit numbers "
            "with common scales; use optimizer=adamw, or engine=single or engine=ddp"
        )


def check_shardable(model: nn.Module, *, bf16: bool) -> None:
    """Checks that the bytes of quantised weights survive sharding.

    Args:
        model: the model before it is sharded.
        bf16: whether its parameters are cast to bfloat16 on the way.

    Raises:
        UserError: naming the first weight that would not.
    """
    for name, parameter in model.named_parameters():
        cast = bf16 and parameter.dtype != torch.bfloat16 and getattr(parameter, "quant_state", None) is not None
        if cast or not parameter.is_floating_point():
            raise UserError(
                f"{name} is quantised and stored as {parameter.dtype}, which this engine cannot shard: take "
                "quantization=nf4 with quantization.quant_storage=auto"
                f"{' and model.dtype=bfloat16' if bf16 else ''}, or engine=ddp"
            )
