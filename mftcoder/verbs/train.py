"""The verb `train`: puts the chosen components together and runs them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from mftcoder.balancer.base import Balancer, GradientBalancer
from mftcoder.core.progress import Progress
from mftcoder.core.rng import Seed
from mftcoder.core.state import Stateful
from mftcoder.data.base import Data
from mftcoder.engine.base import Engine
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.positions import check_length
from mftcoder.model.weights import ModelWeights
from mftcoder.objective.base import Objective
from mftcoder.peft.base import Peft
from mftcoder.quantization.base import Quantization
from mftcoder.scheduler.base import Schedule as LearningRate
from mftcoder.storage.checkpoints import Checkpoints
from mftcoder.storage.session import farewell
from mftcoder.system.signals import StopRequest
from mftcoder.template.base import Template
from mftcoder.tracker.base import Tracker
from mftcoder.tracker.composite import Trackers
from mftcoder.training.assembly import (
    facts_of,
    joined,
    load_model,
    make_batcher,
    make_optimizer,
    make_state,
    make_validator,
    planned_steps,
    with_loss,
)
from mftcoder.training.feed import Feed
from mftcoder.training.freezing import Freezing
from mftcoder.training.loop import Trainer
from mftcoder.training.monitoring.anomalies import Anomalies
from mftcoder.training.monitoring.answers import Answers
from mftcoder.training.monitoring.notices import Departures, announce, before_the_start
from mftcoder.training.run import Run
from mftcoder.training.schedule import Schedule
from mftcoder.training.settings import Settings


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
    scheduler: LearningRate,
    engine: Engine,
    tracker: dict[str, Tracker],
    training: Settings,
    checkpoint: Checkpoints,
    run_dir: Path,
    config: Mapping[str, Any],
) -> float | None:
    """Train one model on all tasks.

    Args:
        name: of the runs' directory, and in trackers.
        seed: of the data order, new weights and dropout.
        cache_dir: where tokenised data are kept.
        resume: none, auto, latest, best, or the path of a run or of a step.
        resume_force: continue although configuration or data differ.
        run_dir: where everything goes.
        config: what the components were built from, to be kept beside the weights.

    Returns:
        The mean over the tasks of their best validation losses, None without any validation.
    """
    with joined(engine, seed=seed):
        check_length(model.config(), data.seq_length)
        tokenizer = model.tokenizer()
        corpus = data.load(tokenizer=tokenizer, template=template, cache_dir=Path(cache_dir))
        tasks, packs_per_step = corpus.tasks, training.packs_per_step(engine.data_ranks)
        facts = facts_of(model, corpus, training, packs_per_step=packs_per_step)
        about: dict[str, Any] = {"config": config, "facts": facts, "resume": resume, "resume_force": resume_force}
        with checkpoint.open(run_dir=run_dir, engine=engine, **about) as session:
            net = load_model(model, quantization, peft, engine)
            compiled = training.torch_compile
            whole = with_loss(net, objective=objective, data=data, engine=engine, compiled=compiled)
            engine.prepare(whole, partial(make_optimizer, optimizer))
            sampler = data.sampler(corpus.train, packs_per_step=packs_per_step, seed=seed)
            total_steps = planned_steps(training, sampler)
            balancing = balancer.fit(total_steps)
            balancer.start(tasks)
            batcher = make_batcher(data, tokenizer, engine)
            trained, seq_length = sampler.trained, data.seq_length
            validator = make_validator(training, corpus.valid, batcher, engine, seq_length=seq_length, trained=trained)
            progress = Progress()
            weights = [weight * trains for weight, trains in zip(corpus.weights, trained, strict=True)]
            freezing = Freezing(tasks=tasks, weights=weights, settings=training, progress=progress)
            feed = Feed(sampler, batcher, corpus.train, training.per_device_train_batch_size, objective)
            trainer = Trainer(
                engine=engine,
                objective=objective,
                balancer=balancer,
                batcher=batcher,
                learning_rate=lambda peak, step: scheduler.learning_rate(peak, step, total_steps),
                max_grad_norm=training.max_grad_norm,
                diagnostics_steps=training.diagnostics_steps,
                priors=freezing.priors,
                expected=feed.expected,
                probe=validator.probe,
            )
            anomalies = Anomalies(training, engine, tasks, run_dir)
            components: dict[str, Stateful] = {"balancer": balancer, "sampler": sampler, "effective": trainer.effective}
            state = make_state(ModelWeights(engine, net, tokenizer), progress, engine, anomalies, components)
            warnings = before_the_start(corpus, balancer, scheduler, total_steps, balancing=balancing)
            announce(corpus, engine, warnings, packs_per_step=packs_per_step, total_steps=total_steps)
            parting = partial(farewell, run_dir) if engine.rank == 0 else None
            with StopRequest(parting) as stop, Trackers(tracker if engine.rank == 0 else {}) as trackers:
                trackers.start(run_dir=run_dir, name=name, config=config, tasks=tasks, total_steps=total_steps)
                run = Run(
                    trainer=trainer,
                    feed=feed,
                    validator=validator,
                    schedule=Schedule(evaluation=training, stopping=training, total_steps=total_steps),
                    freezing=freezing,
                    departures=Departures(tasks, trainer.effective, meant=not isinstance(balancer, GradientBalancer)),
                    answers=Answers(engine, net, tokenizer, template.ends(tokenizer), corpus, training, run_dir),
                    anomalies=anomalies,
                    state=state,
                    evaluate_first=training.evaluate_first,
                    checkpoints=session,
                    trackers=trackers,
                    stop=stop,
                    run_dir=run_dir,
                )
                return run.go()
