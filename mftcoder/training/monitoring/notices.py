"""What a person should know of a run that begins, or while it trains."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from mftcoder.balancer.base import Balancer
from mftcoder.core.coefficients import EffectiveWeights
from mftcoder.data.corpus.tables import Corpus
from mftcoder.engine.base import Engine
from mftcoder.scheduler.base import Schedule as LearningRate
from mftcoder.training.monitoring import summary

log = logging.getLogger(__name__)

ENOUGH_STEPS = 50
"""Steps after which the mean of the effective weights means something."""


FEW_SAMPLES = 20
"""Validation samples of a task below which its loss says little."""


def announce(corpus: Corpus, engine: Engine, warnings: Iterable[str], *, packs_per_step: int, total_steps: int) -> None:
    """Say on rank 0, before the first step, what the run will do and what it cannot do."""
    if engine.rank > 0:
        return
    summary.announce(corpus, engine.module, packs_per_step=packs_per_step, total_steps=total_steps)
    for warning in warnings:
        log.warning("%s", warning)


def before_the_start(
    corpus: Corpus, balancer: Balancer, schedule: LearningRate, total_steps: int, *, balancing: Sequence[str]
) -> Iterator[str]:
    """What is known before the first step to make a run other than was meant.

    Args:
        corpus: what it learns from.
        balancer: of the tasks.
        schedule: of the learning rate.
        total_steps: of the run.
        balancing: what the balancer says of its length.
    """
    yield from balancing
    warmup = schedule.warmup(total_steps)
    if warmup and 3 * warmup >= total_steps:
        yield (
            f"scheduler.num_warmup_steps: the learning rate rises for {warmup} of {total_steps} steps; "
            "0.03 would be that fraction of the run"
        )
    held_out = {task: corpus.valid.num_samples(i) for i, task in enumerate(corpus.tasks)}
    if not any(held_out.values()):
        blind = " The balancer weighs by validation losses, and will weigh all tasks alike."
        yield (
            "no task has a validation sample, so the run has no best step, no metric and no early stopping; "
            "data.data_split=[95,5,0] or a file valid.jsonl beside train.jsonl would give it some."
            + (blind if balancer.probe == "valid" else "")
        )
    elif few := [f"{task} {number}" for task, number in held_out.items() if number < FEW_SAMPLES]:
        yield f"fewer than {FEW_SAMPLES} validation samples, so losses that say little: {', '.join(few)}"
    if dropped := [f"{task} {facts['dropped']}" for task, facts in corpus.report.items() if facts.get("dropped")]:
        yield f"dialogues dropped, since data.seq_length leaves nothing of them to learn: {', '.join(dropped)}"


@dataclass
class Departures:
    """Warns once where tasks do not get the weight that was meant for them.

    Args:
        tasks: names by id.
        effective: what their weights came to so far.
        meant: whether the weights that were meant are what should come of it, as with gradient surgery they are not.
    """

    tasks: Sequence[str]
    effective: EffectiveWeights
    meant: bool
    warned: bool = field(default=False, init=False)

    def check(self) -> None:
        """To be called after every step."""
        if self.warned or not self.meant or self.effective.steps < ENOUGH_STEPS:
            return
        if far := self.effective.departures():
            named = ", ".join(f"{self.tasks[t]} {got:.2f} instead of {meant:.2f}" for t, (got, meant) in far.items())
            log.warning(
                "weights of the tasks so far: %s. Tasks that are absent from a step get nothing of it; "
                "data.stratified=true or objective.normalization=expected cures that",
                named,
            )
            self.warned = True
