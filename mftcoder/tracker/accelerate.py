"""Metrics to any other service that accelerate knows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from mftcoder.core.errors import UserError
from mftcoder.tracker.base import Metrics, Tracker


class Accelerate(Tracker):
    """Hands the metrics to one of accelerate's own trackers.

    service: whose package must be installed. options: its tracker's further arguments, passed on as they are.
    """

    optional = True

    def __init__(
        self,
        *,
        service: Literal["aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "trackio"],
        options: dict[str, Any],
    ) -> None:
        self.service = service
        self.options = options
        self._tracker: Any = None

    def start(self, *, run_dir: Path, name: str, config: Mapping[str, Any], tasks: list[str], total_steps: int) -> None:
        """Open the service and store the configuration there, flat, with dots in its names."""
        from accelerate.tracking import LOGGER_TYPE_TO_CLASS

        self._tracker = LOGGER_TYPE_TO_CLASS[self.service](name, **self.options)
        # Only rank 0 has trackers at all; accelerate need not look for it, which would start its own process state.
        self._tracker.main_process_only = False
        try:
            self._tracker.start()
        except ImportError as error:
            raise UserError(f"tracker.accelerate.service={self.service}: {error}; install its package") from error
        self._tracker.store_init_configuration(dict(_flat(config)))

    def log(self, metrics: Metrics) -> None:
        """All values of one step."""
        values = {name: value for name, value in metrics.items() if name != "step"}
        self._tracker.log(values, step=int(metrics["step"]))

    def finish(self) -> None:
        """Close the service."""
        self._tracker.finish()


def _flat(tree: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value if isinstance(value, bool | int | float) else str(value)
