"""The verb `evaluate`: loss and perplexity of each task, of a trained model or of its base."""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Literal

from rich.table import Table

from mftcoder.core.batch import TaskLosses
from mftcoder.core.errors import UserError
from mftcoder.core.rng import Seed
from mftcoder.core.terminal import table, terminal
from mftcoder.data.base import Data
from mftcoder.data.stream.collate import collate
from mftcoder.engine.base import Engine
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.loss_model import LossModel
from mftcoder.model.self_test import self_test
from mftcoder.quantization.base import Quantization
from mftcoder.storage.restored import FromRun, find, of_run
from mftcoder.template.base import Template
from mftcoder.training.metrics import Metrics, valid_metrics
from mftcoder.training.validation import Validator


def evaluate(
    *,
    name: str,
    checkpoint: str | None,
    model: CausalLM | FromRun,
    quantization: Quantization | FromRun | None,
    template: Template | FromRun,
    data: Data | FromRun,
    seed: Seed | FromRun,
    split: Literal["train", "valid", "test"],
    evaluation_samples: int | None,
    per_device_eval_batch_size: int,
    cache_dir: str,
    engine: Engine,
    trusted_targets: list[str],
    run_dir: Path,
) -> float:
    """Print and keep (evaluation.json) what each task's held-out samples cost; returns the mean over the tasks.

    name: of the directory that runs go to. run_dir: where evaluation.json goes.
    Raises UserError where there is no such checkpoint, or it has no run to ask for what is left to it, and where no
    task has a sample in `split`.
    """
    trained = find(checkpoint, model=model, quantization=quantization, trusted=trusted_targets)
    shown_seed = of_run("seed", seed, trained.weights, Seed)
    engine.start(seed=shown_seed)
    net, tokenizer = trained.load(engine.device)
    shown = of_run("template", template, trained.weights, Template, trusted=trusted_targets)
    source: Data = of_run("data", data, trained.weights, Data, trusted=trusted_targets)
    corpus = source.load(tokenizer=tokenizer, template=shown, seed=shown_seed, cache_dir=Path(cache_dir))
    whole = LossModel(net, loss_kernel="fused", packed=source.padding_mode != "padding", group=engine.group)
    self_test(whole, padding_mode=source.padding_mode)
    engine.model = whole
    validator = Validator(
        engine=engine,
        split=getattr(corpus, split),
        collate=partial(collate, padding_mode=source.padding_mode, pad_id=tokenizer.pad_token_id),
        tokens_per_batch=per_device_eval_batch_size * source.seq_length,
        samples_per_task=evaluation_samples,
    )
    if not validator.num_samples:
        raise UserError(_nothing(split))
    losses = validator.losses()
    metrics = valid_metrics(losses, corpus.tasks)
    if engine.rank == 0:
        _keep(run_dir, metrics, checkpoint=checkpoint, split=split)
        terminal().print(_table(losses, corpus.tasks, split))
    return metrics["valid/loss"]


def _keep(run_dir: Path, metrics: Metrics, **about: str | None) -> None:
    finite = {name: value if math.isfinite(value) else None for name, value in metrics.items()}
    (run_dir / "evaluation.json").write_text(json.dumps({**about, **finite}, indent=1), encoding="utf-8")


def _nothing(split: str) -> str:
    others = "split=valid" if split != "valid" else "split=test or split=train"
    return (
        f"split={split}: no task has a sample in it; take {others}, or train with data.data_split=[90,5,5], which "
        "holds samples out for both (what a run has trained on is no test of it)"
    )


def _table(losses: TaskLosses, tasks: list[str], split: str) -> Table:
    shown = table("task", "targets", "loss", "perplexity", title=f"{split} split")
    columns = losses.mean.tolist(), losses.mean.exp().tolist(), losses.count.tolist()
    for task, mean, perplexity, count in zip(tasks, *columns, strict=True):
        told = (f"{mean:.4f}", f"{perplexity:.3f}") if count else ("", "")
        shown.add_row(task, f"{count:,.0f}", *told)
    return shown
