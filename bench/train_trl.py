"""For bench/train.py: the same steps by TRL's SFTTrainer; runs in an interpreter that has trl."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import LoraConfig, get_peft_model
from train_inputs import Products, Size, clock, matrix_product_peak, memory, report
from transformers import AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig, TrainerCallback
from trl import SFTConfig, SFTTrainer


class Clock(TrainerCallback):  # type: ignore[misc]
    """When each step ended."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.times: list[float] = []

    def on_train_begin(self, *args: Any, **kwargs: Any) -> None:
        """The clock starts."""
        self.times.append(self.now())

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        """A step is done."""
        self.times.append(self.now())


def make_model(job: dict[str, Any]) -> Any:
    """The model with the same fresh adapter as ours."""
    bits = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=torch.float32,
    )
    options = {"quantization_config": bits} if job["method"] == "qlora" else {}
    net = AutoModelForCausalLM.from_pretrained(job["model"], dtype=torch.float32, **options)
    if job["method"] == "full":
        return net
    torch.manual_seed(0)
    return get_peft_model(
        net, LoraConfig(r=16, lora_alpha=32, lora_dropout=0.0, target_modules="all-linear", task_type="CAUSAL_LM")
    )


def make_trainer(job: dict[str, Any], dialogues: list[dict[str, list[int]]], out: str, times: Clock) -> SFTTrainer:
    config = SFTConfig(
        output_dir=out,
        per_device_train_batch_size=1 if job["packed"] else job["batch"],
        packing=job["packed"],
        max_length=max(job["pack"], *(len(d["input_ids"]) for d in dialogues)),
        completion_only_loss=True,
        gradient_checkpointing=False,
        torch_compile=job["compiled"],
        num_train_epochs=1,
        learning_rate=2e-4,
        lr_scheduler_type="constant",
        weight_decay=0.01,
        max_grad_norm=1.0,
        optim="adamw_torch_fused",
        train_sampling_strategy="sequential",
        dataset_num_proc=1,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
    )
    tokenizer = AutoTokenizer.from_pretrained(job["model"])
    return SFTTrainer(
        model=make_model(job),
        args=config,
        train_dataset=Dataset.from_list(dialogues),
        processing_class=tokenizer,
        callbacks=[times],
    )


def main() -> None:
    job = json.loads(sys.argv[1])
    dialogues = json.loads(Path(job["dialogues"]).read_text(encoding="utf-8"))
    now = clock(job)
    peak, times = matrix_product_peak(now), Clock(now)
    with tempfile.TemporaryDirectory() as out:
        trainer = make_trainer(job, dialogues, out, times)
        before = memory("VmRSS")
        trainer.train()
        high = memory("VmHWM")
        batches = list(trainer.get_train_dataloader())
        with torch.compiler.set_stance("force_eager"), Products() as counter:
            trainer.compute_loss(trainer.model, dict(batches[-1])).backward()
    seconds = [after - begun for begun, after in zip(times.times[:-1], times.times[1:], strict=True)]
    losses = [row["loss"] for row in trainer.state.log_history if "loss" in row]
    sizes = [size(batch) for batch in batches]
    flops = counter.flops * sum(s.positions for s in sizes[1:]) / sizes[-1].positions
    report(losses, seconds, sizes, peak_bytes=high, before_bytes=before, peak_flops=peak, flops=flops)


def size(batch: dict[str, torch.Tensor]) -> Size:
    positions, mask = batch["input_ids"].numel(), batch.get("attention_mask")
    learnt = int((batch["labels"][:, 1:] != -100).sum())
    return Size(positions if mask is None else int(mask.sum()), learnt, positions)


if __name__ == "__main__":
    main()
