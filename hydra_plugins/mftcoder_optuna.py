"""`hydra/sweeper=optuna`: the jobs of a sweep one after another, each chosen by how those before it did.

Hydra takes plugins from this namespace only. They are imported at every start, so nothing here may be slow to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.core.plugins import Plugins
from hydra.core.utils import JobReturn, JobStatus
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf

from mftcoder.core.errors import ConfigError, UserError

if TYPE_CHECKING:
    from mftcoder.launch.study import Space, Study


class OptunaSweeper(Sweeper):
    """Minimises what the verb returns, over the overrides that name several values.

    n_trials: jobs that complete, whether at this start or before; those that fail count for this start alone.
    seed: of what Optuna chooses. params: overrides, like those typed, which come after them and win.
    """

    def __init__(self, *, n_trials: int, seed: int, params: Mapping[str, Any]) -> None:
        self.n_trials = n_trials
        self.seed = seed
        self.params = params

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """See Sweeper.setup."""
        self.hydra_context = hydra_context
        self.config = self._own = config
        self._sweep_dir = Path(config.hydra.sweep.dir)
        self._parser = OverridesParser.create(config_loader=hydra_context.config_loader)
        self._launcher = Plugins.instance().instantiate_launcher(
            hydra_context=hydra_context, task_function=task_function, config=config
        )

    def sweep(self, arguments: list[str]) -> list[JobReturn]:
        """Run jobs until as many as asked for have completed; then raise the first failure, if there was any.

        Raises UserError as soon as one completes without a metric.
        """
        from mftcoder.launch.study import Study
        from mftcoder.launch.sweep import without_secrets

        self._check()
        fixed, space = self._read(arguments)
        self.validate_batch_is_legal([fixed + words for words in _samples(space)])
        self._sweep_dir.mkdir(parents=True, exist_ok=True)
        study = Study(self._sweep_dir, space, fixed, seed=self.seed)
        OmegaConf.save(without_secrets(self._own), self._sweep_dir / "multirun.yaml")
        jobs: list[JobReturn] = []
        failed: list[JobReturn] = []
        while study.completed + len(failed) < self.n_trials:
            jobs.append(self._try(study, fixed))
            failed += jobs[-1:] if jobs[-1].status is JobStatus.FAILED else []
        study.write_best()
        for job in failed:
            _ = job.return_value  # raises
        return jobs

    def _check(self) -> None:
        numbers = {"n_trials": self.n_trials, "seed": self.seed}
        wrong = {name: number for name, number in numbers.items() if type(number) is not int or number < 0}
        if wrong:
            raise ConfigError([f"hydra.sweeper.{name}: {number!r} is not a count" for name, number in wrong.items()])

    def _read(self, arguments: list[str]) -> tuple[list[str], Space]:
        """The overrides that all jobs share, and between what the others are to be chosen."""
        words = [f"{key}={value}" for key, value in self.params.items()] + arguments
        overrides = {override.get_key_element(): override for override in self._parser.parse_overrides(words)}
        swept = {key: override for key, override in overrides.items() if override.is_sweep_override()}
        fixed = [str(override.input_line) for key, override in overrides.items() if key not in swept]
        return fixed, {key: _values(override) for key, override in swept.items()}

    def _try(self, study: Study, fixed: list[str]) -> JobReturn:
        trial = study.next()
        words = [f"{key}={value}" for key, value in trial.params.items()]
        (job,) = self._launcher.launch([fixed + words], initial_job_idx=trial.number)
        metric = job.return_value if job.status is JobStatus.COMPLETED else None
        study.tell(trial, metric)
        if job.status is JobStatus.COMPLETED and metric is None:
            raise UserError(
                f"hydra/sweeper=optuna: job {trial.number} ended without a metric, and there is nothing to minimise; "
                "training has one where there are validation samples, as with data.data_split=[95,5,0]"
            )
        return job


def _values(override: Override) -> Any:
    """Choices as they are typed, or the ends of an interval and whether it is searched on a log scale."""
    value = override.value()
    if not isinstance(value, IntervalSweep):
        return list(override.sweep_string_iterator())
    return value.start, value.end, "log" in value.tags


def _samples(space: Space) -> list[list[str]]:
    """Overrides in which every choice occurs, so that a misspelt one is found before anything runs."""
    columns = [
        [f"{key}={value}" for value in (values if isinstance(values, list) else values[:1])]
        for key, values in space.items()
    ]
    return [[word or column[0] for word, column in zip(row, columns, strict=True)] for row in zip_longest(*columns)]
