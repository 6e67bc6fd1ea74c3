"""LoRA adapters on disk as updates of weights: read from what PEFT writes, and written so that it reads them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file

from mftcoder.core.errors import UserError
from mftcoder.model.merging import LowRank
from mftcoder.model.weights import ADAPTER
from mftcoder.storage import untrusted

CONFIG = "adapter_config.json"
DOWN, UP = ".lora_A.weight", ".lora_B.weight"
PLAIN = {"peft_type": "LORA", "use_dora": False, "bias": "none", "modules_to_save": None, "target_parameters": None}


@dataclass(frozen=True, slots=True)
class Adapter:
    """What LoRA changed.

    Attributes:
        base: name or path of the base model.
        updates: by module, the change of its weight.
        config: adapter_config.json.
    """

    base: str
    updates: Mapping[str, LowRank]
    config: Mapping[str, Any]


def read_adapter(directory: Path) -> Adapter:
    """The adapter in a directory, its scaling multiplied in.

    Raises:
        UserError: it holds more than products of two matrices, as DoRA, biases and modules that were trained whole do.
    """
    config = untrusted.read_json(directory / CONFIG)
    untrusted.check_adapter(config)
    tensors = load_file(directory / ADAPTER)
    other = [f"{key}={config.get(key)!r}" for key, plain in PLAIN.items() if (config.get(key) or plain) != plain]
    other += [f"{key} (a tensor)" for key in sorted(tensors) if not key.endswith((DOWN, UP))]
    if other:
        raise UserError(
            f"{directory}: {'; '.join(other[:5])}: only plain LoRA can be merged as adapters; "
            "export each input, and merge the exported models"
        )
    modules = sorted(key.removesuffix(DOWN) for key in tensors if key.endswith(DOWN))
    updates = {name: _update(tensors[name + DOWN], tensors[name + UP], name, config) for name in modules}
    return Adapter(str(config.get("base_model_name_or_path")), updates, config)


def write_adapter(directory: Path, updates: Mapping[str, LowRank], config: Mapping[str, Any]) -> None:
    """Write updates of one rank as an adapter with the scaling 1.

    Args:
        directory: must exist.
        updates: by module.
        config: adapter_config.json of an adapter over the same base, for all that a merge leaves as it is.
    """
    rank = len(next(iter(updates.values())).down)
    tensors = {
        name + end: part for name, update in updates.items() for end, part in zip((DOWN, UP), update, strict=True)
    }
    save_file({key: part.contiguous() for key, part in tensors.items()}, directory / ADAPTER, {"format": "pt"})
    own = {"r": rank, "lora_alpha": rank, "use_rslora": False, "rank_pattern": {}, "alpha_pattern": {}}
    names = sorted({name.rpartition(".")[2] for name in updates})
    text = json.dumps({**config, **own, "target_modules": names}, indent=2, sort_keys=True)
    (directory / CONFIG).write_text(text, encoding="utf-8")


def _update(down: Any, up: Any, module: str, config: Mapping[str, Any]) -> LowRank:
    alpha = next(_matching(config.get("alpha_pattern") or {}, module), config["lora_alpha"])
    scaling = alpha / (math.sqrt(len(down)) if config.get("use_rslora") else len(down))
    return LowRank(down.float(), up.float() * scaling)


def _matching(pattern: Mapping[str, float], module: str) -> Iterator[float]:
    """The values of the names, as PEFT writes them, that a module ends with."""
    return (value for name, value in pattern.items() if f".{module}".endswith(f".{name}"))
