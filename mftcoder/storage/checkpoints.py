"""State to disk and back: staged, hashed, renamed; only whole checkpoints ever have a name.

    checkpoints/step_000100/   weights and their config as Hugging Face or PEFT lays them out
                               <part>.json, <part>.safetensors    optimizer, balancer, sampler, rng, progress
                               run.json, manifest.json            the run's configuration; every file's size and SHA-256
    checkpoints/latest, best   text files with the name of a step; best-<task> where the best step of a task is kept.
                               One that a resumed run has inherited is the absolute path of a step of the earlier run

Each step is written under another name, synced, sealed with its manifest, and then renamed in one move, so that a run
may be killed at any moment: what has a name and agrees with its manifest is whole, everything else is ignored.
"""

from __future__ import annotations

import json
import logging
import os
import weakref
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

from mftcoder.core import manifest
from mftcoder.core.errors import UserError
from mftcoder.core.files import write_text
from mftcoder.core.progress import Keep, Progress
from mftcoder.core.state import State, Stateful
from mftcoder.engine.base import Engine
from mftcoder.storage import resumption, run_directory, serialize, snapshot
from mftcoder.storage.snapshot import CONFIG, Snapshot

log = logging.getLogger(__name__)

T = TypeVar("T")


class Checkpoints:
    """Saves a run's state every so often, keeps a few, and finds the one to go on from.

    checkpointing_steps: optimizer steps between two checkpoints. saving_limit: how many to keep (None: all); the newest
    and the best always stay. keep: what is saved and stays besides, the best step of each task or the Pareto set.
    asynchronous: copy the state, then write it while training goes on.
    Raises ValueError for numbers below 1.
    """

    def __init__(
        self,
        *,
        checkpointing_steps: int | None,
        saving_limit: int | None,
        keep: Keep,
        asynchronous: bool,
    ) -> None:
        numbers = {"checkpointing_steps": checkpointing_steps, "saving_limit": saving_limit}
        if faults := [f"checkpoint.{k}: {v} is below 1" for k, v in numbers.items() if v is not None and v < 1]:
            raise ValueError("\n".join(faults))
        self.checkpointing_steps = checkpointing_steps
        self.saving_limit = saving_limit
        self.keep = keep
        self.asynchronous = asynchronous

    def start(
        self,
        *,
        run_dir: Path,
        engine: Engine,
        config: Mapping[str, Any],
        facts: Mapping[str, Any],
        resume: str,
        resume_force: bool,
    ) -> None:
        """Take the run's directory, which all ranks share, and clear away what a crash left half-written.

        config: the resolved configuration, JSON values only. facts: what else must agree between the saving and the
        resuming run: packs_per_step, the packs of a global batch, which come in gradient_accumulation_steps portions,
        and data, a digest of each task's tokens. resume: none | auto | latest | best | the path of a run or a step.
        resume_force: go on although configuration or facts differ.
        Sets last, the step that was saved or loaded last (rank 0), and metrics, those of the step that was loaded.
        Every rank must call it; all raise UserError where the directory cannot be written, or another process trains
        in it.
        """
        self.run_dir = run_dir
        self.engine = engine
        self.config = config
        self.facts = facts
        self.resume = resume
        self.resume_force = resume_force
        self.writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self.pending: Future[None] | None = None
        self.last: Path | None = None
        self.metrics: dict[str, float] = {}
        self.directory = run_dir / resumption.STEPS
        self._agree(self._take)

    def due(self, progress: Progress) -> bool:
        """Whether to save now: at every interval, and whenever the run has never been better."""
        every = self.checkpointing_steps
        return (every is not None and progress.step % every == 0) or progress.step in progress.worth(self.keep)

    def save(self, state: State, *, metrics: Mapping[str, float]) -> None:
        """Save the state as step `state.progress.step`; every rank must call it, and all raise if it fails.

        A failure leaves training and all earlier checkpoints as they were. With asynchronous=true it shows at the
        next save or at finish.
        """
        self._settle()
        write_weights = state.weights.snapshot()
        parts = {name: part.state_dict() for name, part in _parts(state).items()}
        if self.engine.rank == 0:
            encoded = {name: serialize.encode(part) for name, part in parts.items()}
            progress = state.progress
            kept = progress.worth(self.keep)
            copied = Snapshot(
                step=progress.step,
                pointers=progress.notable(),
                kept=kept,
                write_weights=write_weights,
                parts=encoded,
                metrics=dict(metrics),
                config=self.config,
                facts=self.facts,
            )
            self.pending = self.writer.submit(self._write, copied)
        if not self.asynchronous:
            self._settle()

    def finish(self) -> None:
        """Wait for what is still being written; every rank must call it."""
        self._settle()
        self.abandon()

    def abandon(self) -> None:
        """Let what is being written be finished, and give up the directory, without asking the other ranks."""
        self.writer.shutdown()
        if self.engine.rank == 0:
            self.give_up()

    def restore(self, state: State) -> bool:
        """Continue from the checkpoint that `resume` selects, if any; every rank must call it.

        Raises UserError where no whole checkpoint is found but one is demanded, where the data are not the same, where
        something else differs with resume=auto, and where the saved weights do not fit.
        """
        step = self._agree(self._find)
        if step is not None:
            self._load(state, step, _parts(state))
        return step is not None

    def go_back(self, state: State, *, but: Collection[str]) -> None:
        """Return to what this run last saved or began with, except for the parts `but`; every rank must call it.

        Raises UserError where there is nothing, or it is damaged.
        """
        self._settle()
        step = self._agree(self._last_whole)
        self._load(state, step, {name: part for name, part in _parts(state).items() if name not in but})

    def _take(self) -> None:
        """First the lock: what lies there half-written may be what a run that is alive is writing."""
        self.give_up = weakref.finalize(self, os.close, run_directory.hold(self.run_dir))
        snapshot.clear(self.directory)

    def _load(self, state: State, step: Path, parts: Mapping[str, Stateful]) -> None:
        try:
            state.weights.load(step)
            for name, part in parts.items():
                part.load_state_dict(serialize.read(step, name))
            self.metrics = dict(manifest.read(step)["metrics"])
        except (ValueError, KeyError, FileNotFoundError) as error:
            raise UserError(f"{step} does not fit this run: {error}") from error
        self.last = step
        log.info("continuing after step %d from %s", state.progress.step, step)

    def _last_whole(self) -> Path:
        if self.last is None:
            raise UserError(
                "this run has no checkpoint yet to go back to; with a smaller checkpoint.checkpointing_steps it has"
            )
        if faults := manifest.faults(self.last):
            raise UserError(f"{self.last}, which the run has to go back to, is damaged: {'; '.join(faults)}")
        return self.last

    def _find(self) -> Path | None:
        step = resumption.find(self.resume, self.run_dir)
        if step is None:
            return None
        self._compare(step)
        self._inherit_best(step.parent)
        return step

    def _compare(self, step: Path) -> None:
        """Say where this is not the run that saved `step`, and refuse to take it for the same one."""
        config, facts = json.loads((step / CONFIG).read_text(encoding="utf-8")), manifest.read(step)
        data = resumption.other_data(facts, self.facts)
        settings = [*resumption.differences(config, self.config), *resumption.other_batch(facts, self.facts)]
        if not data and not settings:
            return
        message = "\n".join([f"{step} was saved by a run that differs:", *settings, *data])
        if (data or self.resume == "auto") and not self.resume_force:
            raise UserError(f"{message}\nresume_force=true goes on all the same, resume=none begins anew")
        log.warning(message)

    def _inherit_best(self, directory: Path) -> None:
        """Keep pointing to the best step so far where that belongs to an earlier run."""
        pointer = directory / "best"
        if directory != self.directory and pointer.is_file():
            best = (directory / pointer.read_text(encoding="utf-8")).resolve()
            write_text(self.directory / "best", str(best))

    def _settle(self) -> None:
        """Wait for the last save; all ranks raise if it failed."""
        pending, self.pending = self.pending, None
        self._agree(pending.result if pending is not None else lambda: None)

    def _agree(self, decide: Callable[[], T]) -> T:
        """What rank 0 decides, on every rank; where it fails, all raise."""
        error: Exception | None = None
        answer: tuple[Any, str | None] = (None, None)
        if self.engine.rank == 0:
            try:
                answer = decide(), None
            except Exception as caught:
                error, answer = caught, (None, str(caught))
        value, message = self.engine.share(answer)
        if message is not None:
            raise error if error is not None else UserError(message)
        return cast(T, value)

    def _write(self, copied: Snapshot) -> None:
        """The part that may run in another thread."""
        self.last = copied.write(self.directory)
        copied.settle(self.directory, saving_limit=self.saving_limit)


def _parts(state: State) -> dict[str, Stateful]:
    return {"progress": state.progress, **state.parts}
