"""For bench/train.py: our steps over some dialogues, put together as `python launch.py` does by default."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_inputs import Products, Size, clock, matrix_product_peak, memory, report

from mftcoder.config import build, load
from mftcoder.core.batch import Sample
from mftcoder.data.collate import collate
from mftcoder.engine.allocator import keep_freed_memory
from mftcoder.loop import MicroBatches, Trainer
from mftcoder.model.loss_model import LossModel
from mftcoder.optimizer.groups import decay_groups

PEFT = {"lora": "lora", "full": "none", "qlora": "qlora"}
PARTS = ("engine", "model", "peft", "quantization", "objective", "balancer", "optimizer")


def make_trainer(job: dict[str, Any]) -> Trainer:
    path, peft_choice = f"model.pretrained_model_path={job['model']}", f"peft={PEFT[job['method']]}"
    tree = load("model=path", path, "model.gradient_checkpointing=false", peft_choice, "engine.device=cpu")
    parts = {name: build(tree[name]) for name in PARTS}
    engine, peft = parts["engine"], parts["peft"]
    engine.start(seed=0)
    keep_freed_memory()
    net = parts["model"].load(parts["quantization"], engine.device, frozen=peft is not None)
    torch.manual_seed(0)
    whole = LossModel(net if peft is None else peft.adapt(net), loss_kernel="fused", packed=True)
    decay = tree["optimizer"]["weight_decay"]
    engine.prepare(whole, lambda module: parts["optimizer"](decay_groups(module.named_parameters(), decay)))
    parts["balancer"].start(["all"])
    return Trainer(
        engine=engine,
        objective=parts["objective"],
        balancer=parts["balancer"],
        collate=partial(collate, padding_mode="pack", pad_id=0),
        learning_rate=lambda peak, step: peak,
        max_grad_norm=1.0,
        diagnostics_steps=None,
        priors=torch.ones(1, dtype=torch.float64),
        expected=None,
        probe=lambda samples: None,  # type: ignore[arg-type, return-value]
    )


def packs(dialogues: list[dict[str, list[int]]], room: int) -> MicroBatches:
    """The dialogues of one step as few packs of at most `room` tokens, the longest first."""
    bins: list[list[Sample]] = []
    for dialogue in sorted(dialogues, key=lambda d: len(d["input_ids"]), reverse=True):
        ids, mask = np.array(dialogue["input_ids"], np.int32), np.array(dialogue["completion_mask"], bool)
        fitting = (own for own in bins if sum(map(len, own)) + len(ids) <= room)
        if (own := next(fitting, None)) is None:
            bins.append(own := [])
        own.append(Sample(ids, mask, 0, 0))
    return bins


def main() -> None:
    job = json.loads(sys.argv[1])
    dialogues = json.loads(Path(job["dialogues"]).read_text(encoding="utf-8"))
    now = clock(job)
    peak = matrix_product_peak(now)
    trainer = make_trainer(job)
    batches = [dialogues[at : at + job["batch"]] for at in range(0, len(dialogues), job["batch"])]
    before, losses, seconds, sizes = memory("VmRSS"), [], [], []
    for number, batch in enumerate(batches):
        begun = now()
        done = trainer.step(number, packs(batch, job["pack"]))
        seconds.append(now() - begun)
        losses.append(done.loss)
        sizes.append(Size(int(done.size.tokens.sum()), done.size.targets, done.size.positions))
    high = memory("VmHWM")
    with Products() as counter:  # of one more step, scaled to those that were timed
        trainer.step(len(batches), packs(batches[-1], job["pack"]))
    flops = counter.flops * sum(size.tokens for size in sizes[1:]) / sizes[-1].tokens
    report(losses, seconds, sizes, peak_bytes=high, before_bytes=before, peak_flops=peak, flops=flops)


if __name__ == "__main__":
    main()
