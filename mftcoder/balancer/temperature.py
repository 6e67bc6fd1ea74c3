"""Weights between equal and proportional: amounts of data, tempered."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.balancer.base import Balancer
from mftcoder.core.batch import TaskLosses


class Temperature(Balancer):
    """w_t = n_t ** (1 / temperature), with n_t all units of task t so far, those of the step at hand included.

    The loss-side form of temperature sampling (Arivazhagan et al. 2019, arXiv:1907.05019). n_t is a running total,
    which tends to the task's share of the mixture, since the counts of single steps would make the weights noisy.
    temperature: 1 weighs tasks by their data, infinity equally; below 1 sharpens.
    """

    probe = "train"
    kept = ("totals",)

    def __init__(self, *, temperature: float) -> None:
        if not temperature > 0:
            raise ValueError(f"temperature: {temperature} is not above 0")
        self.temperature = temperature

    def start(self, tasks: Sequence[str]) -> None:
        """Begin without any units."""
        super().start(tasks)
        self.totals = torch.zeros(len(tasks), dtype=torch.float64)

    def weights(self, step: int, counts: Tensor) -> Tensor:
        """The tempered totals [T]."""
        return (self.totals + counts) ** (1 / self.temperature)

    def observe(self, step: int, losses: TaskLosses) -> None:
        """Add what the step held."""
        self.totals = self.totals + losses.count.cpu()
