"""Samples, micro-batches and per-task losses: the three values that every part exchanges."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

IGNORED = -100


@dataclass(frozen=True, slots=True)
class Sample:
    """One tokenised dialogue of n tokens.

    ids: [n] int32 token ids. supervised: [n] bool, True where the token is a target of the loss
    (the first token never is: nothing predicts it). task: id of its task. index: its row in the task's corpus.
    """

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    task: int
    index: int

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Batch:
    """One micro-batch of S samples as the model sees it: R rows of L positions.

    Packed: R = 1 and the samples stand end to end; `boundaries` [S + 1] int32 are their cumulative lengths.
    Padded: R = S, rows are filled up on the right, `boundaries` is None (causal attention never looks right).

    input_ids, position_ids: [R, L] int64; positions restart with each sample (and run on over padding).
    labels: [R, L] int64, already shifted: position i holds the token to predict there, or IGNORED.
    sample_ids: [R, L] int64, which sample of the batch a position belongs to (0 on padding, whose label is IGNORED).
    tasks, lengths, supervised: [S] int64, each sample's task, tokens and targets.
    """

    input_ids: Tensor
    position_ids: Tensor
    labels: Tensor
    sample_ids: Tensor
    tasks: Tensor
    supervised: Tensor
    lengths: Tensor
    boundaries: Tensor | None

    def tokens_by_task(self, num_tasks: int) -> Tensor:
        """Real tokens of each task, [T] float64."""
        return torch.zeros(num_tasks, dtype=torch.float64).index_add_(0, self.tasks, self.lengths.double())

    def to(self, device: torch.device) -> Batch:
        """The same batch on `device`, but for the boundaries, which the attention reads on the CPU."""
        if device.type == "cpu":
            return self
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "boundaries"}
        moved: dict[str, Any] = {
            k: t.to(device, non_blocking=True) for k, t in tensors.items() if isinstance(t, Tensor)
        }
        return replace(self, **moved)


@dataclass(frozen=True, slots=True)
class TaskLosses:
    """Per-task sums over some tokens: `total` [T] of losses and `count` [T] of what they are means over, both float64.

    With reduction=token a count is a number of supervised tokens, with reduction=sample a number of samples.
    """

    total: Tensor
    count: Tensor

    @property
    def present(self) -> Tensor:
        """[T] bool: the tasks that had anything to learn from."""
        return self.count > 0

    @property
    def mean(self) -> Tensor:
        """[T] float64: the mean loss of each task, NaN where the task was absent (never 0: that is a loss)."""
        return torch.where(self.present, self.total / self.count.clamp(min=1e-300), torch.nan)
