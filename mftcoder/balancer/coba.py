"""CoBa: validation losses of all tasks converge at one pace, and a task that overfits is held back."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil

import torch
from torch import Tensor

from mftcoder.balancer.base import AdaptiveBalancer
from mftcoder.core.lengths import in_steps


class CoBa(AdaptiveBalancer):
    """w = DF RCS + (1 - DF) ACS, from the slopes of validation losses (Gong et al., EMNLP 2024, arXiv:2410.06741).

    a_t(i) is the least-squares slope of the ratios L_t / L_t(0) in the N steps up to probe i; n counts the probes since
    the warm-up, N' those of the last N steps, T the tasks:
        RCS_t = softmax_t(T a_t(n) / sum_t |a_t(n)|)                     tasks that converge slowly count more
        ACS_t = softmax_t(-N' a_t(n) / sum of the last N' |a_t(i)|)      tasks that diverge count less
        DF = min(1, n softmax_i(-tau n max_t a_t(i) / sum_i |max_t a_t(i)|)[n])    near 0 once a task diverges
    With a probe after every step this is the paper's form. A probe is the same few validation samples every time, so
    that slopes are not sampling noise. A task that a probe misses leaves a gap in time; with fewer than two of its
    losses in the window it has no slope, and its weight is the mean of the others. L_t(0) is its first probe, taken
    before the first step.

    Args:
        coba_warmup_steps: steps with equal weights at first, or a fraction of the run.
        coba_history_length: N, in steps, or a fraction of the run.
        coba_tau: tau.
        coba_update_interval: steps between two probes.
        coba_sample_valid_num: samples in the probe, the same number of each task and at least one, so that its cost
            does not grow with the number of tasks.
        min_weight: see AdaptiveBalancer.
        max_weight: see AdaptiveBalancer.
        floor: see AdaptiveBalancer.

    Raises:
        ValueError: an interval or a number of samples is below 1, or the history is too short for a slope.
    """

    probe = "valid"
    kept: tuple[str, ...] = (*AdaptiveBalancer.kept, "initial", "steps", "ratios", "slopes", "largest")

    def __init__(
        self,
        *,
        coba_warmup_steps: int | float,
        coba_history_length: int | float,
        coba_tau: float,
        coba_update_interval: int,
        coba_sample_valid_num: int,
        min_weight: float,
        max_weight: float | None,
        floor: float,
    ) -> None:
        super().__init__(min_weight=min_weight, max_weight=max_weight, floor=floor)
        if coba_update_interval < 1 or coba_sample_valid_num < 1:
            raise ValueError(
                f"coba_update_interval: {coba_update_interval}, coba_sample_valid_num: {coba_sample_valid_num}: "
                "both count from 1"
            )
        if not 0 < coba_history_length < 1 and coba_history_length <= coba_update_interval:
            raise ValueError(
                f"coba_history_length: {coba_history_length}: a slope needs two probes, "
                f"so more than coba_update_interval: {coba_update_interval}"
            )
        self.warmup = coba_warmup_steps
        self.history = coba_history_length
        self.tau = coba_tau
        self.interval = coba_update_interval
        self.samples = coba_sample_valid_num

    def fit(self, total_steps: int) -> list[str]:
        """Fix the lengths that are fractions; say where the warm-up leaves nothing of the run."""
        self.warmup = in_steps(self.warmup, total_steps)
        self.history = in_steps(self.history, total_steps, least=self.interval + 1)
        if self.warmup < total_steps:
            return []
        return [
            f"balancer.coba_warmup_steps: {self.warmup} steps have equal weights, and the run has {total_steps}: it is "
            "equal weights throughout; take a fraction of the run, as 0.05"
        ]

    @property
    def window(self) -> int:
        """Probes that a slope is fitted to."""
        return ceil(self.history / self.interval)

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with nothing seen."""
        super().start(tasks)
        self.probe_samples = max(1, self.samples // len(tasks))
        self.initial = torch.full((len(tasks),), torch.nan, dtype=torch.float64)
        self.steps = self.largest = torch.zeros(0, dtype=torch.float64)
        self.ratios = self.slopes = torch.zeros(0, len(tasks), dtype=torch.float64)

    def wants(self, step: int) -> bool:
        """Before the first step, and after every `coba_update_interval` steps."""
        return (step + 1) % self.interval == 0

    def update(self, step: int, means: Tensor) -> Tensor:
        """Take in the probe after `step`; weigh by it once the warm-up is over."""
        self.initial = torch.where(self.initial.isnan(), means, self.initial)
        self.steps = torch.cat([self.steps, torch.tensor([float(step)], dtype=torch.float64)])[-self.window :]
        self.ratios = torch.cat([self.ratios, (means / self.initial)[None]])[-self.window :]
        slopes = fit_slopes(self.steps[:, None], self.ratios)
        if step + 1 < self.warmup or slopes.isnan().all():
            return self.raw
        self.slopes = torch.cat([self.slopes, slopes[None]])[-self.window :]
        self.largest = torch.cat([self.largest, slopes[~slopes.isnan()].max()[None]])
        relative = softmax(normalise(slopes))
        absolute = softmax(-normalise(self.slopes)[-1])
        divergence = softmax(-self.tau * normalise(self.largest))[-1] * len(self.largest)
        return torch.lerp(absolute, relative, divergence.clamp(max=1.0))


def fit_slopes(steps: Tensor, values: Tensor) -> Tensor:
    """Least-squares slopes [T] of values [n, T] over steps [n, 1] or [n, T], gaps (NaN) left out.

    NaN for a task with fewer than two points.
    """
    here = ~values.isnan()
    count = here.sum(dim=0)
    x = torch.where(here, steps, 0.0)
    x = torch.where(here, x - x.sum(dim=0) / count, 0.0)
    slopes = (x * values.nan_to_num(0.0)).sum(dim=0) / (x * x).sum(dim=0)
    return torch.where(count < 2, torch.nan, slopes)


def normalise(values: Tensor) -> Tensor:
    """Values divided by the mean of their magnitudes along the first dimension, gaps (NaN) left out."""
    return values / values.abs().nanmean(dim=0).clamp(min=1e-300)


def softmax(scores: Tensor) -> Tensor:
    """Softmax of scores [n] over those that are not NaN; the others stay NaN."""
    return torch.where(scores.isnan(), torch.nan, torch.where(scores.isnan(), -torch.inf, scores).softmax(dim=0))
