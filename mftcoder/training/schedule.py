"""When a run logs, when it validates, and when it is over."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from mftcoder.core.lengths import in_steps
from mftcoder.core.progress import Progress
from mftcoder.training.settings import EvaluationSettings, StoppingSettings


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """A pure function of the progress of a run.

    Args:
        evaluation: the intervals.
        stopping: when validation is said to have stalled.
        total_steps: where the learning rate's schedule ends, and with it the run.
    """

    evaluation: EvaluationSettings
    stopping: StoppingSettings
    total_steps: int

    def logs(self, step: int) -> bool:
        """Whether the metrics of a step are logged."""
        return self._due(step, self.evaluation.log_interval)

    def validates(self, progress: Progress, *, data_left: bool) -> bool:
        """Whether a validation is due that has not been taken yet: at every interval, and after the last step."""
        step = progress.step
        taken = any(validated == step for validated, _ in progress.validations)
        last = step == self.total_steps or not data_left
        return not taken and (last or self._due(step, self.evaluation.evaluation_steps))

    def end(self, progress: Progress, priors: Tensor, *, data_left: bool) -> str | None:
        """Why the run is over; None while it is not.

        Args:
            progress: of the run.
            priors: [T] the tasks' own weights that hold now.
            data_left: False once the stream of limited repeats is over, which rollbacks bring on before the last step.
        """
        if progress.step >= self.total_steps:
            return "all steps are taken"
        if not data_left:
            return "rollbacks have used up the data (data.tasks.<task>.repeat)"
        if not priors.any():
            return "no task has any weight left (training.freeze_stall_num, training.frozen_weight)"
        return "validation has stopped improving (training.early_stopping)" if self._stalled(progress) else None

    def _stalled(self, progress: Progress) -> bool:
        """Whether what early stopping watches has seen no new best for long enough."""
        stopping = self.stopping
        if not stopping.early_stopping:
            return False
        if stopping.early_stopping_on == "mean":
            return progress.stalls() >= stopping.early_stopping_stall_num
        watched = progress.tasks if stopping.early_stopping_on in ("all", "any") else stopping.early_stopping_on
        over = [progress.stalls(task) >= stopping.early_stopping_stall_num for task in watched]
        return any(over) if stopping.early_stopping_on == "any" else bool(over) and all(over)

    def _due(self, step: int, every: int | float | None) -> bool:
        interval = in_steps(every, self.total_steps)
        return interval is not None and step % interval == 0
