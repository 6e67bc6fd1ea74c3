"""Parameters, and the optimizer's state of them, by name: the form in which one engine hands them to another."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mftcoder.core.errors import UserError

Shapes = Mapping[str, torch.Size]


def trainable(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that are trained."""
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def check(weights: Mapping[str, Tensor], shapes: Shapes) -> None:
    """Raise UserError with every parameter that is missing, unknown, or of another shape than in `shapes`."""
    faults = [f"{name}: missing" for name in shapes if name not in weights]
    for name, weight in weights.items():
        if name not in shapes:
            faults.append(f"{name}: not a trained parameter of this model")
        elif weight.shape != shapes[name]:
            faults.append(f"{name}: shape {list(weight.shape)} instead of {list(shapes[name])}")
    if faults:
        raise UserError("The saved weights do not fit the model:\n" + "\n".join(faults))


def check_state(state: Mapping[str, Any], names: Iterable[str]) -> None:
    """Raise UserError for states of parameters that this run does not train."""
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
    """Continue with what `optimizer_state` gave. Raises UserError for parameters that the optimizer does not have."""
    names = _names(optimizer, model)
    check_state(state, names)
    current = optimizer.state_dict()
    current["state"] = {i: state[name] for i, name in enumerate(names) if name in state}
    optimizer.load_state_dict(current)


def _names(optimizer: torch.optim.Optimizer, model: nn.Module) -> list[str]:
    """The names of the optimizer's parameters, in its order."""
    names = {id(p): name for name, p in model.named_parameters()}
    return [names[id(p)] for group in optimizer.param_groups for p in group["params"]]
