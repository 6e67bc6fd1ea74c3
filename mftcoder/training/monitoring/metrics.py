"""Turns the results of a step or a validation into named metrics; an absent task gets no key.

    step, epoch, tokens             optimizer steps, passes over the data, tokens of all tasks and processes so far
    train/loss                      the weighted objective, in nats: mean over the steps since the last log
    train/loss/<task>               mean over its tokens (or samples, see objective.reduction) since the last log, in
                                    nats a token
    train/weight/<task>             weight in this step, of 1 in all
    train/effective_weight/<task>   mean share of the loss since the run began, of 1 in all
    train/tokens/<task>             tokens in this step
    train/gradient_norm/<task>      L2 norm of the gradient of its mean loss, where gradients were taken apart
    train/gradient_cosine/<a>/<b>   of two such gradients, from -1 to 1
    valid/loss                      mean over the tasks of their validation losses, in nats a token
    valid/loss/<task>               mean over its validation tokens, in nats
    learning_rate                   of the first parameter group
    grad_norm                       L2 norm of the whole gradient, before it is clipped
    padding_fraction                share of the positions fed to the model that held no token, from 0 to 1
    tokens_per_second               of all processes; supervised_tokens_per_second: those of them that are targets
    memory_bytes                    the most so far that the first GPU's allocator held, without a GPU the process
    seconds/<phase>                 of this step: data, forward_backward, optimizer

Of a step that was not finite, and so updated nothing, the losses are logged only where there is no other since the
last log.
"""

from __future__ import annotations

import math
import resource
import sys
from collections.abc import Sequence

import torch

from mftcoder.core.batch import TaskLosses
from mftcoder.core.coefficients import EffectiveWeights
from mftcoder.training.loop import Report
from mftcoder.training.task_gradients import cosines

Metrics = dict[str, float]


def train_metrics(report: Report, effective: EffectiveWeights, tasks: Sequence[str], device: torch.device) -> Metrics:
    """The train/, throughput and timing metrics of one step."""
    seconds = sum(report.seconds.values())
    size, present = report.size, report.losses.present
    tokens = float(size.tokens.sum())
    metrics = {
        "train/loss": report.loss,
        **_by_task("train/loss", report.losses.mean, present, tasks),
        **_by_task("train/weight", report.weights, present, tasks),
        **_by_task("train/effective_weight", effective.mean, torch.ones_like(present), tasks),
        **_by_task("train/tokens", size.tokens, present, tasks),
        "learning_rate": report.learning_rate,
        "grad_norm": report.grad_norm,
        "padding_fraction": 1 - tokens / size.positions,
        "tokens_per_second": tokens / seconds,
        "supervised_tokens_per_second": size.targets / seconds,
        "memory_bytes": float(peak_memory(device)),
        **{f"seconds/{phase}": value for phase, value in report.seconds.items()},
    }
    return metrics | (_gradient_metrics(report.gradients, present, tasks) if report.gradients is not None else {})


def train_losses(report: Report, tasks: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Total and count of the losses of a step, by metric; of none that was skipped."""
    if report.skipped:
        return {}
    rows = zip(tasks, report.losses.total.tolist(), report.losses.count.tolist(), strict=True)
    return {"train/loss": (report.loss, 1.0)} | {f"train/loss/{t}": (total, n) for t, total, n in rows if n}


def valid_metrics(losses: TaskLosses, tasks: Sequence[str], trained: Sequence[bool]) -> Metrics:
    """Each task's validation loss, and valid/loss, their mean over the tasks that have a share of the training."""
    own = _by_task("valid/loss", losses.mean, losses.present, tasks)
    counted = task_losses(losses, tasks, trained, nan=math.nan)
    return {**({"valid/loss": sum(counted.values()) / len(counted)} if counted else {}), **own}


def task_losses(
    losses: TaskLosses, tasks: Sequence[str], trained: Sequence[bool], *, nan: float = math.inf
) -> dict[str, float]:
    """The mean loss of each trained task that is there; where it is NaN, `nan`: infinite, so that no other is worse."""
    means = torch.where(losses.mean.isnan(), nan, losses.mean)
    return _present(means, losses.present & torch.tensor(list(trained)), tasks)


def peak_memory(device: torch.device) -> int:
    """Bytes at the peak so far: of the GPU's allocator, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _by_task(prefix: str, values: torch.Tensor, present: torch.Tensor, tasks: Sequence[str]) -> Metrics:
    return {f"{prefix}/{task}": value for task, value in _present(values, present, tasks).items()}


def _present(values: torch.Tensor, present: torch.Tensor, tasks: Sequence[str]) -> dict[str, float]:
    """The value [T] of each task that is there, NaN or not."""
    rows = zip(tasks, values.tolist(), present.tolist(), strict=True)
    return {task: value for task, value, here in rows if here}


def _gradient_metrics(gradients: torch.Tensor, present: torch.Tensor, tasks: Sequence[str]) -> Metrics:
    """Gradient norm of each task, and the cosine of each pair."""
    norms, cosine = cosines(gradients)
    pairs = [(i, j) for i in range(len(tasks)) for j in range(i)]
    between = {f"train/gradient_cosine/{tasks[j]}/{tasks[i]}": float(cosine[i, j]) for i, j in pairs}
    return {
        **_by_task("train/gradient_norm", norms, present, tasks),
        **{name: value for name, value in between.items() if not math.isnan(value)},
    }
