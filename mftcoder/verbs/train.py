"""The verb `train`: puts the chosen components together and runs them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from mftcoder.balancer.base import Balancer
from mftcoder.core.errors import Preempted
from mftcoder.core.layers import compile_layers
from mftcoder.core.rng import Seed
from mftcoder.core.signals import StopRequest
from mftcoder.data.base import Data
from mftcoder.data.corpus.tables import Corpus
from mftcoder.engine.allocator import keep_freed_memory
from mftcoder.engine.base import Engine
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.loss_model import LossModel
from mftcoder.model.positions import check_length
from mftcoder.model.self_test import self_test
from mftcoder.objective.base import Objective
from mftcoder.peft.base import Peft
from mftcoder.quantization.base import Quantization
from mftcoder.scheduler.base import Schedule
from mftcoder.storage.checkpoints import Checkpoints
from mftcoder.storage.session import Session
from mftcoder.template.base import Template
from mftcoder.tracker.base import Tracker
from mftcoder.tracker.composite import Trackers
from mftcoder.training.answers import Samples
from mftcoder.training.assembly import Loaded
from mftcoder.training.decay import decay_groups
from mftcoder.training.settings import Plan


def train(
    *,
    name: str,
    seed: Seed,
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
    _start(engine, seed)
    check_length(model.config(), data.seq_length)
    tokenizer = model.tokenizer()
    corpus = data.load(tokenizer=tokenizer, template=template, cache_dir=Path(cache_dir))
    facts = _facts(model, corpus, training, engine)
    session = checkpoint.open(
        run_dir=run_dir, engine=engine, config=config, facts=facts, resume=resume, resume_force=resume_force
    )
    net = _load(model, quantization, peft, engine)
    whole = _with_loss(net, objective=objective, data=data, plan=training, engine=engine)
    engine.prepare(whole, partial(_make_optimizer, optimizer))
    balancer.start(corpus.tasks)
    sampler = data.sampler(corpus.train, packs_per_step=facts["packs_per_step"], seed=seed)
    loaded = Loaded(
        engine=engine, plan=training, data=data, corpus=corpus, tokenizer=tokenizer, net=net, sampler=sampler
    )
    trainer = loaded.trainer(objective=objective, balancer=balancer, scheduler=scheduler)
    samples = Samples(engine, net, tokenizer, template.ends(tokenizer), corpus, training, run_dir)
    trackers = Trackers(tracker if engine.rank == 0 else {})
    with StopRequest() as stop, _leaving(engine, session), trackers:
        trackers.start(run_dir=run_dir, name=name, config=config, tasks=corpus.tasks, total_steps=loaded.total_steps)
        run = loaded.run(trainer=trainer, samples=samples, checkpoints=session, trackers=trackers, stop=stop)
        return run.go()


def _start(engine: Engine, seed: int) -> None:
    engine.start(seed=seed)
    if engine.device.type == "cpu":
        keep_freed_memory()


def _facts(model: CausalLM, corpus: Corpus, plan: Plan, engine: Engine) -> dict[str, Any]:
    """What a checkpoint keeps beside the configuration, to be compared by the run that goes on from it."""
    return {
        "packs_per_step": plan.packs_per_step(engine.data_ranks),
        "gradient_accumulation_steps": plan.gradient_accumulation_steps,
        "data": corpus.digests(),
        "base": {"source": model.source(), "commit": model.commit()},
    }


def _load(
    model: CausalLM, quantization: Quantization | None, peft: Peft | None, engine: Engine
) -> PreTrainedModel | PeftModel:
    """The model with its adapter."""
    with engine.building():
        net = model.load(quantization, engine.device, frozen=peft is not None)
        return net if peft is None else peft.adapt(net)


def _with_loss(
    net: PreTrainedModel | PeftModel, *, objective: Objective, data: Data, plan: Plan, engine: Engine
) -> LossModel:
    """The model with its loss, tested."""
    whole = LossModel(net, loss_kernel=objective.loss_kernel, packed=data.padding_mode != "padding", group=engine.group)
    if plan.torch_compile:
        compile_layers(net)
    self_test(whole, padding_mode=data.padding_mode)
    return whole


def _make_optimizer(optimizer: Callable[..., torch.optim.Optimizer], net: nn.Module) -> torch.optim.Optimizer:
    """The configured optimizer, a partial of its class, over what trains in `net`."""
    decay = getattr(optimizer, "keywords", {}).get("weight_decay", 0.0)
    return optimizer(decay_groups(net.named_parameters(), decay))


@contextmanager
def _leaving(engine: Engine, session: Session) -> Iterator[None]:
    """Leave together with the other ranks; after an error leave at once, since they may never answer."""
    try:
        yield
    except Exception:
        session.abandon()
        raise
    except Preempted:
        _finish(engine, session)
        raise
    else:
        _finish(engine, session)


def _finish(engine: Engine, session: Session) -> None:
    session.finish()
    engine.finish()
