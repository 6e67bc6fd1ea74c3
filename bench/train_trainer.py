"""For the benchmarks: a trainer put together as `python launch.py` does, without data, logs or checkpoints."""

from __future__ import annotations

from typing import Any

import torch

from mftcoder.cli.config import build
from mftcoder.core.layers import compile_layers
from mftcoder.data.stream.micro_batches import MicroBatcher
from mftcoder.engine.device import keep_freed_memory
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.training.decay import decay_groups
from mftcoder.training.loop import Trainer

PARTS = ("engine", "model", "peft", "quantization", "objective", "balancer", "optimizer")


def make_trainer(tree: dict[str, Any]) -> tuple[Trainer, Any]:
    """The trainer of a checked configuration, for one task in packs, at a constant rate; and its model's component."""
    parts = {name: build(tree[name]) for name in PARTS}
    engine, model, peft = parts["engine"], parts["model"], parts["peft"]
    engine.start(seed=0)
    keep_freed_memory()
    with engine.building():
        net = model.load(parts["quantization"], engine.device, frozen=peft is not None)
        torch.manual_seed(0)  # so that every contender draws the same adapter
        net = net if peft is None else peft.adapt(net)
    if tree["training"]["torch_compile"]:
        compile_layers(net)
    whole = LossModel(net, loss_kernel="fused", packed=True)
    decay = tree["optimizer"]["weight_decay"]
    engine.prepare(whole, lambda module: parts["optimizer"](decay_groups(module.named_parameters(), decay)))
    parts["balancer"].start(["all"])
    trainer = Trainer(
        engine=engine,
        objective=parts["objective"],
        balancer=parts["balancer"],
        batcher=MicroBatcher(padding_mode="pack", pad_id=0, rank=0, ranks=1),
        learning_rate=lambda peak, step: peak,
        max_grad_norm=1.0,
        diagnostics_steps=None,
        priors=lambda: torch.ones(1, dtype=torch.float64),
        expected=lambda: None,
        probe=lambda samples: None,  # type: ignore[arg-type, return-value]
    )
    return trainer, model
