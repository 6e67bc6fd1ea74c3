"""What a person should know of a run that begins, or while it trains."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

from mftcoder.balancer.base import Balancer
from mftcoder.core.coefficients import EffectiveWeights
from mftcoder.data.corpus.tables import Corpus
from mftcoder.training import summary
from mftcoder.training.validation import Validator

log = logging.getLogger(__name__)

ENOUGH_STEPS = 50
"""Steps after which the mean of the effective weights means something."""


def announce(
    corpus: Corpus, validator: Validator, balancer: Balancer, *, packs_per_step: int, total_steps: int
) -> None:
    """Say on rank 0, before the first step, what the run will do and what it cannot do."""
    engine = validator.engine
    if engine.rank > 0:
        return
    summary.announce(corpus, engine.module, packs_per_step=packs_per_step, total_steps=total_steps)
    if not validator.num_samples:
        blind = " The balancer weighs by validation losses, and will weigh all tasks alike."
        log.warning(
            "no task has a validation sample, so the run has no best step, no metric and no early stopping; "
            "data.data_split=[95,5,0] or a file valid.jsonl beside train.jsonl would give it some.%s",
            blind if balancer.probe == "valid" else "",
        )


@dataclass
class Departures:
    """Warns once where tasks do not get the weight that was meant for them.

    Args:
        tasks: names by id.
        effective: what their weights came to so far.
    """

    tasks: Sequence[str]
    effective: EffectiveWeights
    warned: bool = field(default=False, init=False)

    def check(self) -> None:
        """To be called after every step."""
        if self.warned or self.effective.steps < ENOUGH_STEPS:
            return
        if far := self.effective.departures():
            named = ", ".join(f"{self.tasks[t]} {got:.2f} instead of {meant:.2f}" for t, (got, meant) in far.items())
            log.warning(
                "weights of the tasks so far: %s. Tasks that are absent from a step get nothing of it; "
                "data.stratified=true or objective.normalization=expected cures that",
                named,
            )
            self.warned = True
