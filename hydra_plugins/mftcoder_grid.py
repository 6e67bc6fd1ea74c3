"""`hydra/sweeper=grid`: Hydra's own sweep over all combinations, whose multirun.yaml holds no secret.

Hydra takes plugins from this namespace only. They are imported at every start, so nothing here may be slow to import.
"""

from __future__ import annotations

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class GridSweeper(BasicSweeper):
    """Hydra's BasicSweeper, which keeps its configuration without secrets."""

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Sweeper.setup."""
        from mftcoder.launch.sweep import without_secrets

        super().setup(hydra_context=hydra_context, task_function=task_function, config=config)
        self.config = without_secrets(config)
