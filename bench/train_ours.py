"""For bench/train.py: our steps over some dialogues, put together as `python launch.py` does by default."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from train_inputs import Products, Size, clock, matrix_product_peak, memory, report
from train_trainer import make_trainer

from mftcoder.cli.config import load
from mftcoder.core.batch import Sample
from mftcoder.training.loop import MicroBatches, Report, Trainer

PEFT = {"lora": "lora", "full": "none", "qlora": "qlora"}


def trainer_for(job: dict[str, Any]) -> Trainer:
    """Of the job's model, by the job's method."""
    path, peft_choice = f"model.pretrained_model_path={job['model']}", f"peft={PEFT[job['method']]}"
    options = "model.gradient_checkpointing=false", "engine.device=cpu", f"training.torch_compile={job['compiled']}"
    tree = load("model=path", path, peft_choice, *options)
    return make_trainer(tree)[0]


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


def prepared() -> tuple[dict[str, Any], list[dict[str, list[int]]], Callable[[], float], float, Trainer]:
    """The job of this process, its dialogues, its clock, the product peak, and the trainer, loaded after that."""
    job = json.loads(sys.argv[1])
    dialogues = json.loads(Path(job["dialogues"]).read_text(encoding="utf-8"))
    now = clock(job)
    return job, dialogues, now, matrix_product_peak(now), trainer_for(job)


def size_of(done: Report) -> Size:
    """Of a step that was taken."""
    return Size(int(done.size.tokens.sum()), done.size.targets, done.size.positions)


def main() -> None:
    job, dialogues, now, peak, trainer = prepared()
    batches = [dialogues[at : at + job["batch"]] for at in range(0, len(dialogues), job["batch"])]
    before, losses, seconds, sizes = memory("VmRSS"), [], [], []
    for number, batch in enumerate(batches):
        begun = now()
        done = trainer.step(number, packs(batch, job["pack"]))
        seconds.append(now() - begun)
        losses.append(done.loss)
        sizes.append(size_of(done))
    high = memory("VmHWM")
    # Of one more step, scaled to those that were timed; compiled code hides its products, which are the same.
    with torch.compiler.set_stance("force_eager"), Products() as counter:
        trainer.step(len(batches), packs(batches[-1], job["pack"]))
    flops = counter.flops * sum(size.tokens for size in sizes[1:]) / sizes[-1].tokens
    report(losses, seconds, sizes, peak_bytes=high, before_bytes=before, peak_flops=peak, flops=flops)


if __name__ == "__main__":
    main()
