"""Samples to a micro-batch: packed end to end, or padded row by row."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from mftcoder.core.batch import IGNORED, Batch, Sample

PaddingMode = Literal["pack", "padding", "concat"]


def collate(samples: Sequence[Sample], *, padding_mode: PaddingMode, pad_id: int) -> Batch:
    """Makes a batch: one row without any padding, or (padding_mode=padding) one row a sample.

    Labels never cross from one sample into the next.

    Args:
        samples: S of them, in the order that the batch will have.
        padding_mode: padding gives S rows; pack and concat give one.
        pad_id: token id for padding.

    Raises:
        ValueError: there are no samples.
    """
    if not samples:
        raise ValueError(f"a micro-batch of {len(samples)} samples; it needs at least one")
    lengths = np.array([len(s) for s in samples])
    padded = padding_mode == "padding"
    rows, width = (len(samples), lengths.max()) if padded else (1, lengths.sum())
    starts = np.arange(len(samples)) * width if padded else np.concatenate([[0], lengths.cumsum()[:-1]])
    at = np.concatenate([np.arange(start, start + n) for start, n in zip(starts, lengths, strict=True)])

    def place(values: list[NDArray[np.generic]], fill: int) -> torch.Tensor:
        flat = np.full(rows * width, fill, dtype=np.int64)
        flat[at] = np.concatenate(values)
        return torch.from_numpy(flat.reshape(rows, width))

    return Batch(
        input_ids=place([s.ids for s in samples], pad_id),
        position_ids=torch.arange(width).expand(rows, -1) if padded else place([np.arange(n) for n in lengths], 0),
        labels=place([_labels(s) for s in samples], IGNORED),
        sample_ids=place([np.full(n, i) for i, n in enumerate(lengths)], 0),
        tasks=torch.tensor([s.task for s in samples]),
        supervised=torch.tensor([int(s.supervised[1:].sum()) for s in samples]),
        boundaries=None if padded else torch.from_numpy(np.concatenate([[0], lengths.cumsum()]).astype(np.int32)),
        lengths=torch.from_numpy(lengths),
    )


def _labels(sample: Sample) -> NDArray[np.generic]:
    """[n]: what each position has to predict; nothing at the last, whose successor belongs to another sample."""
    labels = np.full(len(sample), IGNORED, dtype=np.int64)
    labels[:-1] = np.where(sample.supervised[1:], sample.ids[1:], IGNORED)
    return labels
