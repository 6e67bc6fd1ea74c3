"""From what a step or a validation gave to the names in metrics.jsonl; what is absent has no key."""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence

import torch

from mftcoder.core.batch import TaskLosses
from mftcoder.core.coefficients import EffectiveWeights
from mftcoder.loop import Report
from mftcoder.task_gradients import cosines

Metrics = dict[str, float]


def train_metrics(report: Report, effective: EffectiveWeights, tasks: Sequence[str], device: torch.device) -> Metrics:
    """The train/, throughput and timing metrics of one step."""
    seconds = sum(report.seconds.values())
    size = report.size
    tokens = float(size.tokens.sum())
    metrics = {
        "train/loss": report.loss,
        **_by_task("train/loss", report.losses.mean, tasks),
        **_by_task("train/weight", torch.where(report.losses.present, report.weights, torch.nan), tasks),
        **_by_task("train/effective_weight", effective.mean, tasks),
        **_by_task("train/tokens", torch.where(report.losses.present, size.tokens, torch.nan), tasks),
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        "padding_fraction": 1 - tokens / size.positions,
        "tokens_per_second": tokens / seconds,
        "supervised_tokens_per_second": size.targets / seconds,
        "memory_bytes": float(peak_memory(device)),
        **{f"seconds/{phase}": value for phase, value in report.seconds.items()},
    }
    return metrics | (_gradient_metrics(report.gradients, tasks) if report.gradients is not None else {})


def valid_metrics(losses: TaskLosses, tasks: Sequence[str]) -> Metrics:
    """valid/loss, the mean over the tasks of their token means, and each task's own."""
    by_task = task_losses(losses, tasks)
    return {"valid/loss": sum(by_task.values()) / len(by_task), **_by_task("valid/loss", losses.mean, tasks)}


def task_losses(losses: TaskLosses, tasks: Sequence[str]) -> dict[str, float]:
    """The mean loss of each task that is there."""
    return _present(losses.mean, tasks)


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak so far: of the GPU's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _by_task(prefix: str, values: torch.Tensor, tasks: Sequence[str]) -> Metrics:
    return {f"{prefix}/{task}": value for task, value in _present(values, tasks).items()}


def _present(values: torch.Tensor, tasks: Sequence[str]) -> dict[str, float]:
    """The value of each task that has one."""
    return {task: value for task, value in zip(tasks, values.tolist(), strict=True) if not math.isnan(value)}


def _gradient_metrics(gradients: torch.Tensor, tasks: Sequence[str]) -> Metrics:
    """Gradient norm of each task, and the cosine of each pair."""
    norms, cosine = cosines(gradients)
    pairs = [(i, j) for i in range(len(tasks)) for j in range(i)]
    between = {f"train/gradient_cosine/{tasks[j]}/{tasks[i]}": float(cosine[i, j]) for i, j in pairs}
    present = torch.where(norms > 0, norms, torch.nan)
    return {
        **_by_task("train/gradient_norm", present, tasks),
        **{name: value for name, value in between.items() if not math.isnan(value)},
    }
