"""The directory of a run as training leaves it, made without any training."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from small_models import shaken, some_ids
from torch import Tensor
from transformers import PreTrainedModel

from mftcoder.cli import config
from mftcoder.engine.single import Single
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.weights import ModelWeights

SMALL = ("model=tiny", "model.num_hidden_layers=2", "model.hidden_size=64")


@dataclass(frozen=True)
class SavedRun:
    """directory: of the run. tree: its configuration. logits: of the trained model for `some_ids()`."""

    directory: Path
    tree: dict[str, Any]
    logits: Tensor

    def model(self, **changes: Any) -> CausalLM:
        """The base model that it was trained on."""
        return config.build({**self.tree["model"], **changes})


def save_run(directory: Path, *overrides: str, scale: float = 0.05) -> SavedRun:
    """A run with these overrides, whose trained weights were shaken at random, and saved as its second step."""
    tree = config.load(*SMALL, f"model.directory={directory / 'models'}", *overrides)
    model, peft, quantization = (config.build(tree[name]) for name in ("model", "peft", "quantization"))
    net: PreTrainedModel | PeftModel = model.load(quantization, torch.device("cpu"), frozen=peft is not None)
    torch.manual_seed(0)
    net = shaken(net if peft is None else peft.adapt(net), scale)
    engine = Single(device="cpu", mixed_precision="no", num_processes=1)
    engine.start(seed=0)
    whole = LossModel(net, loss_kernel="fused", packed=True)
    engine.prepare(whole, lambda m: torch.optim.SGD([p for p in m.parameters() if p.requires_grad]))
    step = directory / "checkpoints" / "step_000002"
    ModelWeights(engine, net, model.tokenizer()).snapshot()(step)
    (step / "run.json").write_text(json.dumps(tree), encoding="utf-8")
    (directory / "checkpoints" / "latest").write_text(step.name, encoding="utf-8")
    with torch.no_grad():
        logits = net.eval()(input_ids=some_ids(), use_cache=False).logits
    return SavedRun(directory, tree, logits)
