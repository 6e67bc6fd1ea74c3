"""What a batch says of its tasks, and what means over tasks are where one is absent."""

from __future__ import annotations

import numpy as np
import torch

from mftcoder.core.batch import Batch, Sample, TaskLosses
from mftcoder.data.stream.collate import collate


def batch() -> Batch:
    lengths, tasks = (5, 2, 3), (0, 2, 0)
    samples = [
        Sample(np.arange(n, dtype=np.int32), np.arange(n) > 0, task, 0) for n, task in zip(lengths, tasks, strict=True)
    ]
    return collate(samples, padding_mode="padding", pad_id=9)


def test_tokens_of_a_task_do_not_count_padding() -> None:
    assert batch().tokens_by_task(4).tolist() == [8.0, 0.0, 2.0, 0.0]
    assert batch().tokens_by_task(4).dtype == torch.float64


def test_the_boundaries_stay_on_the_cpu() -> None:
    moved = batch().to(torch.device("meta"))
    assert moved.input_ids.device.type == moved.tasks.device.type == "meta"
    packed = collate([Sample(np.arange(3, dtype=np.int32), np.arange(3) > 0, 0, 0)], padding_mode="pack", pad_id=9)
    assert packed.to(torch.device("meta")).boundaries.device.type == "cpu"
    assert packed.to(torch.device("cpu")) is packed


def test_an_absent_task_has_no_loss_and_never_0() -> None:
    losses = TaskLosses(
        total=torch.tensor([3.0, 0.0, 0.0], dtype=torch.float64), count=torch.tensor([2.0, 0.0, 1.0]).double()
    )
    assert losses.present.tolist() == [True, False, True]
    assert losses.mean[[0, 2]].tolist() == [1.5, 0.0]
    assert losses.mean[1].isnan()
