"""Each optimizer's YAML lists exactly the parameters of its class and trains with them."""

from __future__ import annotations

import inspect
from pathlib import Path
from pydoc import locate
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from torch import nn

from mftcoder.training.decay import decay_groups

CONF = sorted((Path(__file__).parents[2] / "conf" / "optimizer").glob("*.yaml"))


def load(path: Path) -> tuple[type[torch.optim.Optimizer], dict[str, Any]]:
    tree = OmegaConf.to_container(OmegaConf.load(path))
    assert isinstance(tree, dict)
    assert tree.pop("_partial_") is True
    return locate(tree.pop("_target_")), {str(key): value for key, value in tree.items()}  # type: ignore[return-value]


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_the_yaml_lists_every_parameter(path: Path) -> None:
    target, arguments = load(path)
    assert list(arguments) == [name for name in inspect.signature(target).parameters if name != "params"]


@pytest.mark.parametrize("path", CONF, ids=lambda path: path.stem)
def test_the_yaml_fits_a_line(path: Path) -> None:
    """y = 3x from 8 points: the loss falls from over 1 to under 0.01, with both a matrix and a bias."""
    target, arguments = load(path)
    torch.manual_seed(0)
    layer = nn.Linear(1, 1)
    groups = decay_groups(layer.named_parameters(), arguments["weight_decay"])
    optimizer = target(groups, **{**arguments, "lr": 0.1})
    x = torch.linspace(-1, 1, 8)[:, None]
    losses = []
    for _ in range(200):
        loss = (layer(x) - 3 * x).square().mean()
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[0] > 1
    assert losses[-1] < 0.01


def test_the_choices_were_found() -> None:
    assert {"adamw", "adamw8bit"} <= {path.stem for path in CONF}
