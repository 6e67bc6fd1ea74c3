"""Adapter files as updates: what they say is what PEFT computes, and what they cannot say is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from small_models import load, preset, save_random, shaken
from torch import nn

from mftcoder.core.errors import UserError
from mftcoder.model.weights import save_adapter
from mftcoder.storage.adapters import CONFIG, read_adapter, write_adapter
from mftcoder.storage.restored import attach


def saved(root: Path, **changes: object) -> tuple[Path, PeftModel]:
    """A directory with a random adapter, and the model that it adapts."""
    base = save_random("llama", root / "base")
    net = shaken(preset("peft/lora", **changes).adapt(load(base)))
    (root / "adapter").mkdir()
    save_adapter(net, {name: p.data for name, p in net.named_parameters() if p.requires_grad}, root / "adapter")
    return root / "adapter", net


@pytest.mark.parametrize("changes", [{}, {"lora_alpha": 7, "use_rslora": True}, {"target_modules": ["q_proj"]}])
def test_updates_are_what_peft_adds_to_the_weights(tmp_path: Path, changes: dict[str, object]):
    directory, net = saved(tmp_path, **changes)
    adapter = read_adapter(directory)
    layers = {name: module for name, module in net.named_modules() if hasattr(module, "get_delta_weight")}
    assert adapter.updates.keys() == layers.keys()
    for name, update in adapter.updates.items():
        torch.testing.assert_close(update.dense, layers[name].get_delta_weight("default"))


def test_what_is_written_is_what_peft_then_computes(tmp_path: Path):
    directory, net = saved(tmp_path, lora_alpha=7)
    adapter = read_adapter(directory)
    (tmp_path / "again").mkdir()
    write_adapter(tmp_path / "again", adapter.updates, adapter.config)
    again = attach(load(tmp_path / "base"), tmp_path / "again")
    for (name, one), (_, other) in zip(net.named_modules(), again.named_modules(), strict=True):
        if isinstance(one, nn.Module) and hasattr(one, "get_delta_weight"):
            delta = other.get_delta_weight("default")  # type: ignore[operator]
            torch.testing.assert_close(delta, one.get_delta_weight("default"), msg=name)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"use_dora": True}, "use_dora=True"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save="),
        ({"bias": "lora_only"}, "bias='lora_only'"),
    ],
)
def test_what_is_more_than_two_factors_is_refused(tmp_path: Path, changes: dict[str, object], named: str):
    directory, _ = saved(tmp_path, **changes)
    with pytest.raises(UserError, match=f"{named}.*only plain LoRA can be merged"):
        read_adapter(directory)


def test_a_configuration_that_would_import_code_is_refused(tmp_path: Path):
    directory, _ = saved(tmp_path)
    config = json.loads((directory / CONFIG).read_text())
    (directory / CONFIG).write_text(json.dumps({**config, "auto_mapping": {"parent_library": "canary"}}))
    with pytest.raises(ValueError, match="auto_mapping"):
        read_adapter(directory)
