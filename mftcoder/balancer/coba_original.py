"""CoBa as MFTCoder's released code computes it, for reproducing runs made with it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mftcoder.balancer.coba import CoBa, fit_slopes, normalise
from mftcoder.core.errors import UserError


class CoBaOriginal(CoBa):
    """CoBa with all that the released code (codefuse-ai/MFTCoder, CoBaStatus) does otherwise than its paper.

    - DF comes from the slope of each probe's largest ratio, not from the largest slope, and may exceed 1;
    - the weights are w = softmax_t(T (DF RCS + (1 - DF) ACS)), and 0.9 w + 0.1 / T as soon as one is below 0.1 / T;
    - slopes are over probes, not steps: where a probe missed a task, its losses before and after are moved together;
    - nothing is probed in the first interval; N counts steps with an interval of 1, else the window of the losses never
      closes; that of the slopes is N - warmup / interval + 1 probes long.
    Where the released code crashes, this one refuses (windows and warm-ups that do not fit together) or goes on
    (resuming, missing tasks). Two things are not reproduced: L_t(0) is the first probe, there it is the whole
    validation set; a probe comes just before the weights that it changes, there it comes interval - 1 steps earlier.
    """

    def start(self, tasks: Sequence[str]) -> None:
        """Begin with nothing seen; raises UserError for lengths with which the released code crashes."""
        super().start(tasks)
        if self.warmup % self.interval or not 3 <= self.warmup // self.interval <= self.history:
            raise UserError(
                f"balancer: coba_warmup_steps: {self.warmup}, coba_update_interval: {self.interval}, "
                f"coba_history_length: {self.history}: the released code needs a warm-up that is a multiple of the "
                "interval, of 3 intervals at least and coba_history_length intervals at most; balancer=coba does not"
            )

    def wants(self, step: int) -> bool:
        """Before the first step, and after every interval but the first."""
        return super().wants(step) and not 0 <= step < 2 * self.interval - 1

    def update(self, step: int, means: Tensor) -> Tensor:
        """Take in the probe after `step`; weigh by it once the warm-up is over."""
        self.initial = torch.where(self.initial.isnan(), means, self.initial)
        if step < 0:
            return self.raw
        self.ratios = torch.cat([self.ratios, (means / self.initial)[None]])
        if self.interval == 1:
            self.ratios = self.ratios[-int(self.history) :]
        if step + 1 < self.warmup:
            return self.raw
        highest = self.ratios.nan_to_num(0.0).max(dim=1, keepdim=True).values
        slopes = _compressed_slopes(torch.cat([self.ratios, highest], dim=1))
        window = int(self.history - self.warmup // self.interval + 1)
        self.slopes = torch.cat([self.slopes, slopes[None, :-1]])[-window:]
        self.largest = torch.cat([self.largest, slopes[-1:]])
        return self._weigh(slopes[:-1])

    def _weigh(self, slopes: Tensor) -> Tensor:
        number = len(slopes)
        relative = normalise(slopes).softmax(0)
        absolute = (-normalise(self.slopes)[-1]).softmax(0)
        divergence = (-self.tau * normalise(self.largest)).softmax(0)[-1] * len(self.largest)
        weights = (number * (divergence * relative + (1 - divergence) * absolute)).softmax(0)
        return 0.9 * weights + 0.1 / number if weights.min() < 0.1 / number else weights


def _compressed_slopes(ratios: Tensor) -> Tensor:
    """Slopes [T] of ratios [n, T], those that a task has numbered one after another; 0 for fewer than two."""
    here = ratios.nan_to_num(0.0) != 0
    places = here.cumsum(dim=0).double()
    return fit_slopes(places, torch.where(here, ratios, torch.nan)).nan_to_num(0.0)
