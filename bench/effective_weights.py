"""What share of the loss does each task really get? Target against realised weights, simulated over many steps.

    python bench/effective_weights.py            prints the table of the README, and writes it as JSON

A step is 16 dialogues of log-normal length; the tasks have the shares .70 .20 .08 .02 of the data and equal weights.
The original draws dialogues at random; ours always takes from the task that is furthest behind its share of the tokens.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mftcoder.core.coefficients import EffectiveWeights, token_coefficients

SHARES = np.array([0.70, 0.20, 0.08, 0.02])
DIALOGUES, MICRO_BATCH, STEPS = 16, 2, 500
MEAN_TOKENS = np.exp(5.0 + 0.5**2 / 2)
RULES = {
    "original, micro-batches of 2": "each micro-batch is normalised by itself",
    "step": "normalization=step",
    "step, stratified": "and data.stratified=true",
    "expected": "normalization=expected",
}


class Stream:
    """Task and supervised tokens of each dialogue, step by step; stratified steps begin with one of each task."""

    def __init__(self, *, seed: int, random: bool, stratified: bool) -> None:
        self.generator = np.random.default_rng(seed)
        self.random, self.stratified = random, stratified
        self.drawn = np.zeros(len(SHARES))

    def step(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Tasks [16] and tokens [16] of the next step."""
        tokens = np.ceil(self.generator.lognormal(5.0, 0.5, DIALOGUES)).astype(np.int64)
        tasks = np.array([self._task(at, n) for at, n in enumerate(tokens)])
        return tasks, tokens

    def _task(self, at: int, tokens: int) -> int:
        if self.random:
            return int(self.generator.choice(len(SHARES), p=SHARES))
        behind = SHARES * self.drawn.sum() - self.drawn
        task = at if self.stratified and at < len(SHARES) else int(behind.argmax())
        self.drawn[task] += tokens
        return task


def units(tasks: NDArray[np.int64], tokens: NDArray[np.int64]) -> torch.Tensor:
    """Supervised tokens of each task."""
    return torch.from_numpy(np.bincount(tasks, weights=tokens, minlength=len(SHARES)))


def realised(rule: str, *, seed: int = 0, steps: int = STEPS) -> list[float]:
    """Mean share that each task had in the loss under a rule of RULES."""
    original = rule.startswith("original")
    stream = Stream(seed=seed, random=original, stratified="stratified" in rule)
    weights = torch.ones(len(SHARES), dtype=torch.float64)
    expected = torch.from_numpy(SHARES * DIALOGUES * MEAN_TOKENS) if rule == "expected" else None
    effective = EffectiveWeights(len(SHARES))
    for _ in range(steps):
        tasks, tokens = stream.step()
        size = MICRO_BATCH if original else DIALOGUES
        for at in range(0, DIALOGUES, size):
            counts = units(tasks[at : at + size], tokens[at : at + size])
            effective.add(weights, counts * token_coefficients(weights, counts, expected))
    return effective.mean.tolist()


def main() -> None:
    table = {rule: realised(rule) for rule in RULES}
    print(f"| rule | {' | '.join(f'share {s:.0%}' for s in SHARES)} | |\n|---|{'---|' * (len(SHARES) + 1)}")
    print(f"| target | {' | '.join([f'{1 / len(SHARES):.3f}'] * len(SHARES))} | |")
    for rule, values in table.items():
        print(f"| {rule} | {' | '.join(f'{v:.3f}' for v in values)} | {RULES[rule]} |")
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(table, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
