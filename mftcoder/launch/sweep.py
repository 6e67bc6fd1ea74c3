"""The table of all jobs at the end of a sweep."""

from __future__ import annotations

import atexit
import logging
from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path
from typing import Any

import yaml
from hydra.core.utils import JobReturn
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write
from rich.box import HEAVY_HEAD
from rich.table import Table
from typing_extensions import override

from mftcoder.cli import next_steps, secrets
from mftcoder.core.errors import Refused, UserError
from mftcoder.report.comparison import MEAN, Comparison, compare, plus_minus
from mftcoder.report.draw import draw, jobs_of, place_of
from mftcoder.report.record import METRICS
from mftcoder.storage import status
from mftcoder.storage.run_directory import LOCK
from mftcoder.system.lock import Lock, LockedError
from mftcoder.system.terminal import table, terminal


class Summary(Callback):
    """Keeps other sweeps out of the directory, and prints the table when the process ends, however the sweep went."""

    @override
    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        sweep_dir = Path(config.hydra.sweep.dir)
        self._lock = _lock(sweep_dir)
        logging.getLogger("hydra").addFilter(_masks)
        for name in ("basic_launcher", "basic_sweeper"):
            logging.getLogger(f"hydra._internal.core_plugins.{name}").addFilter(_masks)
        atexit.register(show, sweep_dir)

    @override
    def on_job_end(self, config: DictConfig, job_return: JobReturn, **kwargs: Any) -> None:
        """Hydra shows the overrides of a job that has failed."""
        job_return.overrides = _masked_words(config, job_return.overrides or ())


def _masked_words(config: DictConfig, words: Iterable[str]) -> list[str]:
    tree: Any = OmegaConf.to_container(config, resolve=False)
    hidden, names = secrets.values(tree), tree.get(secrets.EXTRA_NAMES) or ()
    return [secrets.masked_override(word, hidden, names) for word in words]


def _lock(sweep_dir: Path) -> Lock:
    """The lock of a sweep's directory; raises Refused, which Hydra lets through, where another sweep has it."""
    try:
        sweep_dir.mkdir(parents=True, exist_ok=True)
        return Lock(sweep_dir / LOCK)
    except OSError as error:
        raise Refused(UserError(f"hydra.sweep.dir={sweep_dir} cannot be written: {error}; choose another")) from error
    except LockedError as error:
        advice = "wait until it has ended, stop it, or take another directory"
        raise Refused(UserError(f"hydra.sweep.dir={sweep_dir}: {error} runs a sweep in it; {advice}")) from error


def _masks(record: logging.LogRecord) -> bool:
    """Hydra lists the overrides of each job on the console: all of them are masked where one holds a secret."""
    text = str(record.msg)
    if any(secrets.masked_override(word) != word for word in text.split()):
        record.msg = f"{text.partition(':')[0]}: {secrets.MASK}"
    return True


def without_secrets(config: DictConfig) -> DictConfig:
    """A copy of a sweep's configuration, for its multirun.yaml: what is typed, chosen and set, the secrets masked."""
    tree: Any = OmegaConf.to_container(config, resolve=False)
    copy = deepcopy(config)
    with read_write(copy), open_dict(copy):
        for path, _, shown in secrets.find(tree):
            node: Any = copy
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = shown
        for words in (copy.hydra.overrides.task, copy.hydra.overrides.hydra):
            words[:] = _masked_words(config, words)
        copy.hydra.job.override_dirname = ""
    return copy


def show(sweep_dir: Path) -> None:
    """Print the jobs in a sweep's directory by what differs between them, compare them, and draw their report."""
    jobs = sorted((file.parent for file in sweep_dir.glob(f"*/{status.FILE}")), key=place_of)
    found = [(job, word) for job in jobs if (word := status.read(job)) is not None]
    overrides = {job: _overrides(job) for job, _ in found}
    shared = set.intersection(*map(set, overrides.values())) if len(found) > 1 else set()
    shown = table("job", "overrides", "state", "metric", texts=(0, 1, 2), box=HEAVY_HEAD, title=str(sweep_dir))
    for job, word in found:
        metric = "" if word.metric is None else f"{word.metric:.6g}"
        state = word.state if word.reason is None else f"{word.state}: {word.reason}"
        differing = " ".join(override for override in overrides[job] if override not in shared)
        shown.add_row(job.name, differing, state, metric)
    if found:
        terminal().print(shown)
    if any(sweep_dir.glob(f"*/{METRICS}")):
        _compare(sweep_dir)


def _compare(sweep_dir: Path) -> None:
    """Print the choices of a sweep against the first of them, and draw the report."""
    comparison = compare(jobs_of(sweep_dir))
    if comparison is not None:
        seeds = f"over {comparison.seeds} seeds" if comparison.seeds > 1 else "one run each, so none is evidence"
        print(f"\nlowest validation loss against {comparison.first}, {seeds}", end="", flush=True)
        terminal().print(_differences(comparison))
        if comparison.seeds > 1:
            print("± between seeds; * not by chance (paired t-test at 95 %, Holm); all else is no difference")
    print(f"compared in {draw(sweep_dir)}")
    best = comparison.rows[0].jobs[0].path if comparison is not None else None
    print(next_steps.after_sweep(sweep_dir, best))


def _differences(comparison: Comparison) -> Table:
    shown = table("choice", "mean", "difference", "verdict", *comparison.tasks, texts=(0, 3))
    for row in comparison.rows:
        cells = [row.differences[column] for column in comparison.columns]
        told = [f"{plus_minus(cell.values, signed=True)} {cell.star}".strip() for cell in cells]
        tasks = [row.spread(t) for t in comparison.tasks] if cells[0].verdict == "first" else told[1:]
        shown.add_row(row.name, row.spread(MEAN), told[0], cells[0].verdict, *tasks)
    return shown


def _overrides(job: Path) -> list[str]:
    file = job / ".hydra" / "overrides.yaml"
    return list(yaml.safe_load(file.read_text(encoding="utf-8"))) if file.exists() else []
