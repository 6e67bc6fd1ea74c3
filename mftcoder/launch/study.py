"""What an adaptive sweep has tried, and what it tries next: an Optuna study that outlives the process."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import yaml

from mftcoder.core.errors import ConfigError
from mftcoder.system.files import write_text

if TYPE_CHECKING:
    from optuna import Study as OptunaStudy
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

# By override: choices, or (low, high, log); an interval of integers has integers for ends.
Space: TypeAlias = Mapping[str, list[str] | tuple[float, float, bool]]

JOURNAL, BEST, ASKED = "study.journal", "optimization_results.yaml", "asked"


class Study:
    """The trials of a sweep, in a journal in its directory.

    A study that is opened again goes on as though it had never been closed: the next trial depends on the seed, on
    its number and on the trials before it, and on nothing that a process remembers.
    """

    def __init__(self, directory: Path, space: Space, fixed: Sequence[str], *, seed: int) -> None:
        """Raises ConfigError where Optuna is missing, the space is none, or the directory is of another search.

        fixed: the overrides that all trials share.
        """
        self._file = directory / JOURNAL
        self._best = directory / BEST
        self._seed = seed
        self._space = _distributions(space)
        self._study = self._open(fixed)

    def _open(self, fixed: Sequence[str]) -> OptunaStudy:
        asked = _fingerprint(self._space, fixed)
        study = _load(self._file)
        self._study = study
        if study.user_attrs.get(ASKED, asked) != asked:
            if self.completed:
                other = "is of another search; type the same overrides, or another directory"
                raise ConfigError([f"hydra.sweep.dir: {self._file} {other}"])
            self._file.unlink()  # Nothing came of it: what was typed had a fault.
            study = _load(self._file)
        study.set_user_attr(ASKED, asked)
        return study

    @property
    def completed(self) -> int:
        """How many trials have a result."""
        from optuna.trial import TrialState

        return len(self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))

    def next(self) -> FrozenTrial:
        """A trial that was going on when a process was killed, else a new one."""
        from optuna.samplers import TPESampler
        from optuna.trial import TrialState

        for trial in self._study.get_trials(states=(TrialState.RUNNING,)):
            if trial.distributions == self._space:
                return trial
            self._study.tell(trial.number, state=TrialState.FAIL)  # killed while its values were being chosen
        number = len(self._study.get_trials(deepcopy=False))
        (seed,) = np.random.SeedSequence([self._seed, number]).generate_state(1)
        self._study.sampler = TPESampler(seed=int(seed))
        self._study.ask(dict(self._space))
        return self._study.get_trials()[number]

    def tell(self, trial: FrozenTrial, metric: float | None) -> None:
        """Note what came of a trial: its metric, to be minimised, where NaN is the worst; None where it failed."""
        from optuna.trial import TrialState

        if metric is None:
            self._study.tell(trial.number, state=TrialState.FAIL)
        else:
            self._study.tell(trial.number, math.inf if math.isnan(metric) else metric)

    def write_best(self) -> None:
        """Write the best trial's values and metric, if any trial has completed, where Hydra's own sweepers do."""
        if self.completed:
            best = self._study.best_trial
            found = {"name": "optuna", "best_evaluated_params": best.params, "best_evaluated_result": best.value}
            write_text(self._best, yaml.safe_dump(found, sort_keys=False))


def _load(file: Path) -> OptunaStudy:
    import optuna
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    _mend(file)
    storage = JournalStorage(JournalFileBackend(str(file)))
    return optuna.create_study(storage=storage, study_name="sweep", load_if_exists=True)


def _mend(file: Path) -> None:
    """Drop a last line that was cut off, which Optuna could not read; whatever it told is told again."""
    if file.exists() and not (told := file.read_bytes()).endswith(b"\n"):
        os.truncate(file, told.rfind(b"\n") + 1)


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    if not space:
        raise ConfigError(["hydra/sweeper=optuna: nothing to choose; give optimizer.lr='tag(log,interval(1e-5,1e-3))'"])
    try:
        import optuna  # noqa: F401
    except ImportError as error:
        raise ConfigError([f"hydra/sweeper=optuna: {error}; pip install 'mftcoder[optuna]'"]) from error
    return {key: _distribution(key, values) for key, values in space.items()}


def _distribution(key: str, values: Any) -> BaseDistribution:
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(values, list):
        return CategoricalDistribution(values)
    low, high, log = values
    try:
        return (IntDistribution if isinstance(low, int) else FloatDistribution)(low, high, log=log)
    except ValueError as error:
        raise ConfigError([f"{key}: interval({low},{high}): {error}"]) from error


def _fingerprint(space: Mapping[str, BaseDistribution], fixed: Sequence[str]) -> str:
    """A digest of what is searched, for an override may hold a secret."""
    from optuna.distributions import distribution_to_json

    asked = [{key: distribution_to_json(space[key]) for key in sorted(space)}, sorted(fixed)]
    return hashlib.sha256(json.dumps(asked).encode()).hexdigest()
