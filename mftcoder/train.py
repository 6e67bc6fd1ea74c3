"""The verb `train`: puts the chosen components together and runs them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mftcoder.anomalies import Anomalies
from mftcoder.balancer.base import Balancer
from mftcoder.checkpoint import Checkpoints
from mftcoder.core.errors import Preempted, UserError
from mftcoder.core.plan import Plan
from mftcoder.core.progress import Progress
from mftcoder.core.rng import Generators
from mftcoder.core.state import State, Stateful
from mftcoder.data.base import Data
from mftcoder.data.collate import collate
from mftcoder.data.contents import digests
from mftcoder.data.sampler import Sampler
from mftcoder.engine.allocator import keep_freed_memory
from mftcoder.engine.base import Engine
from mftcoder.loop import Trainer
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.compiling import compile_layers
from mftcoder.model.loss_model import LossModel
from mftcoder.model.self_test import self_test
from mftcoder.model.weights import ModelWeights
from mftcoder.objective.base import Objective
from mftcoder.optimizer.groups import decay_groups
from mftcoder.peft.base import Peft
from mftcoder.quantization.base import Quantization
from mftcoder.run import Run
from mftcoder.samples import Samples
from mftcoder.scheduler.base import Schedule
from mftcoder.signals import StopRequest
from mftcoder.template.base import Template
from mftcoder.tracker.base import Tracker
from mftcoder.tracker.composite import Trackers
from mftcoder.validation import Validator

log = logging.getLogger(__name__)


def train(
    *,
    name: str,
    seed: int,
    cache_dir: str,
    resume: str,
    resume_force: bool,
    model: CausalLM,
    peft: Peft | None,
    quantization: Quantization | None,
    data: Data,
    template: Template,
    objective: Objective,
    balancer: Balancer,
    optimizer: Callable[..., torch.optim.Optimizer],
    scheduler: Schedule,
    engine: Engine,
    tracker: dict[str, Tracker],
    training: Plan,
    checkpoint: Checkpoints,
    run_dir: Path,
    config: Mapping[str, Any],
) -> float | None:
    """Train one model on all tasks; returns the mean over the tasks of their best validation losses.

    run_dir: where everything goes. config: what the components were built from, to be kept beside the weights.
    """
    engine.start(seed=seed)
    if engine.device.type == "cpu":
        keep_freed_memory()
    tokenizer = model.tokenizer()
    corpus = data.load(tokenizer=tokenizer, template=template, seed=seed, cache_dir=Path(cache_dir))
    whole = _load(model, quantization, peft, objective, data, training, engine)
    engine.prepare(whole, partial(_make_optimizer, optimizer))
    packs_per_step = training.packs_per_step(engine.data_ranks)
    sampler = data.sampler(corpus.train, packs_per_step=packs_per_step, seed=seed)
    total_steps = _total_steps(training, sampler)
    batch = partial(collate, padding_mode=data.padding_mode, pad_id=tokenizer.pad_token_id)
    validator = Validator(
        engine=engine,
        split=corpus.valid,
        collate=batch,
        tokens_per_batch=training.per_device_eval_batch_size * data.seq_length,
        samples_per_task=training.evaluation_samples,
    )
    balancer.start(corpus.tasks)
    promised = objective.normalization == "expected"
    trainer = Trainer(
        engine=engine,
        objective=objective,
        balancer=balancer,
        collate=batch,
        learning_rate=lambda peak, step: scheduler.learning_rate(peak, step, total_steps),
        max_grad_norm=training.max_grad_norm,
        diagnostics_steps=training.diagnostics_steps,
        priors=torch.tensor(corpus.weights, dtype=torch.float64),
        expected=torch.from_numpy(sampler.expected_counts(objective.reduction)) if promised else None,
        probe=validator.probe,
    )
    rng = Generators(rank=engine.rank, gather=engine.gather)
    parts: dict[str, Stateful] = {"optimizer": engine, "balancer": balancer, "sampler": sampler, "rng": rng}
    anomalies = Anomalies(training, engine, corpus.tasks, run_dir)
    parts |= {"effective": trainer.effective, "anomalies": anomalies}
    state = State(ModelWeights(engine, whole.net, tokenizer), Progress(), parts)
    samples = Samples(engine, whole.net, tokenizer, template.ends(tokenizer), corpus, training, run_dir)
    facts = {
        "packs_per_step": packs_per_step,
        "gradient_accumulation_steps": training.gradient_accumulation_steps,
        "data": digests(corpus),
    }
    checkpoint.start(
        run_dir=run_dir, engine=engine, config=config, facts=facts, resume=resume, resume_force=resume_force
    )
    trackers = Trackers(tracker if engine.rank == 0 else {})
    with StopRequest() as stop, _leaving(engine, checkpoint), trackers:
        trackers.start(run_dir=run_dir, name=name, config=config, tasks=corpus.tasks, total_steps=total_steps)
        return Run(
            corpus,
            training,
            total_steps,
            trainer,
            sampler,
            validator,
            samples,
            state,
            anomalies,
            checkpoint,
            trackers,
            stop,
            run_dir,
        ).go()


def _load(
    model: CausalLM,
    quantization: Quantization | None,
    peft: Peft | None,
    objective: Objective,
    data: Data,
    training: Plan,
    engine: Engine,
) -> LossModel:
    """The model with its adapter and its loss, tested."""
    with engine.building():
        net = model.load(quantization, engine.device, frozen=peft is not None)
        net = net if peft is None else peft.adapt(net)
    whole = LossModel(net, loss_kernel=objective.loss_kernel, packed=data.padding_mode != "padding", group=engine.group)
    if training.torch_compile:
        compile_layers(net)
    self_test(whole, padding_mode=data.padding_mode)
    return whole


def _total_steps(training: Plan, sampler: Sampler) -> int:
    """Where the schedule ends: at what the plan says, or earlier where the data give no more.

    Raises UserError where they do not give a single step.
    """
    wanted = training.max_train_steps
    total = sampler.steps(training.num_train_epochs) if wanted is None else sampler.clipped(wanted)
    limit = "with each task repeated as often as data.tasks.<task>.repeat allows"
    if not total:
        raise UserError(f"the data do not fill one step, {limit}; allow more, or make the global batch smaller")
    if wanted is not None and total < wanted:
        log.info("training.max_train_steps: %d, but the data give %d, %s; the run ends there", wanted, total, limit)
    return total


def _make_optimizer(optimizer: Callable[..., torch.optim.Optimizer], net: nn.Module) -> torch.optim.Optimizer:
    """The configured optimizer, a partial of its class, over what trains in `net`."""
    decay = getattr(optimizer, "keywords", {}).get("weight_decay", 0.0)
    return optimizer(decay_groups(net.named_parameters(), decay))


@contextmanager
def _leaving(engine: Engine, checkpoint: Checkpoints) -> Iterator[None]:
    """Part from the other ranks together; but at once after an error, when they may be anywhere and answer nothing."""
    try:
        yield
    except Exception:
        checkpoint.abandon()
        raise
    except Preempted:
        _finish(engine, checkpoint)
        raise
    else:
        _finish(engine, checkpoint)


def _finish(engine: Engine, checkpoint: Checkpoints) -> None:
    checkpoint.finish()
    engine.finish()
