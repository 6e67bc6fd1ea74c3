"""From what is said of the tasks' shares to the recipe of their stream."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.epoch import Inventory, Stop, epoch_size
from mftcoder.data.stream.shares import Shares, complete
from mftcoder.data.stream.stream import Recipe

FILL = 0.98  # of seq_length, that packs hold on average


def make_recipe(
    split: Split,
    *,
    shares: Sequence[Sequence[float | None]],
    stages: Sequence[float],
    repeats: Sequence[float | None],
    by_tokens: bool,
    temperature: float,
    stop: Stop,
    max_tokens: int | None,
    stratified_packs: int | None,
    look_ahead: int,
    seq_length: int,
    one_per_pack: bool,
    seed: int,
) -> Recipe:
    """Completes the shares of every stage, and finds how much an epoch is.

    Args:
        split: the samples.
        shares: [stages + 1][T], given share of each task; None takes part of the rest.
        stages: totals of tokens (or samples) at which the next shares take over.
        repeats: [T], most passes over each task; None is any number.
        by_tokens: whether shares are of tokens, or else of samples.
        temperature: of the shares that are not given.
        stop: what ends an epoch.
        max_tokens: of an epoch, with stop=max_tokens.
        stratified_packs: packs of a step, each of which is to hold every task; None where it need not.
        look_ahead: samples of each task that a pack may be chosen from.
        seq_length: most tokens of a pack.
        one_per_pack: whether a pack is a single sample.
        seed: of the shuffle.

    Raises:
        UserError: the shares are impossible, or nothing makes an epoch.
    """
    inventory = Inventory(split, by_tokens=by_tokens)
    completed = [complete(given, inventory.amounts, temperature) for given in shares]
    if stratified_packs is not None:
        samples, tokens = stratified_packs if one_per_pack else None, stratified_packs * FILL * seq_length
        completed = [inventory.stratified(stage, samples=samples, tokens=tokens) for stage in completed]
    capacity = [inf if r is None else r * amount for r, amount in zip(repeats, inventory.amounts, strict=True)]
    schedule = Shares(list(zip([0.0, *stages], completed, strict=True)), capacity)
    return Recipe(
        shares=schedule,
        tokens_per_sample=inventory.tokens_per_sample,
        epoch_size=epoch_size(schedule, inventory, stop, max_tokens),
        capacity=seq_length,
        one_per_pack=one_per_pack,
        look_ahead=look_ahead,
        seed=seed,
    )
