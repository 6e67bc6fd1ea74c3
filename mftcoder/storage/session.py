"""The checkpoints of one run while it has its directory: saved, restored and gone back to."""

from __future__ import annotations

import logging
import weakref
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, TypeVar, cast

from mftcoder.core.errors import DiskFullError, Preempted, UserError
from mftcoder.core.lengths import in_steps
from mftcoder.core.progress import Keep, Progress
from mftcoder.core.state import State, Stateful
from mftcoder.engine.base import Engine
from mftcoder.storage import resumption, run_directory, serialize, snapshot, status
from mftcoder.storage.identity import Identity
from mftcoder.storage.snapshot import Snapshot
from mftcoder.system import manifest
from mftcoder.system.lock import Lock

log = logging.getLogger(__name__)

OnFull = Literal["stop", "skip"]
T = TypeVar("T")


class Session:
    """Saves and restores the state of one run; made by `Checkpoints.open`, which locks the run's directory.

    As a context it ends with `finish`, which waits for all ranks, or after an error with `abandon`, which does not:
    the other ranks may never answer.

    Args:
        identity: what tells this run from others, kept beside the weights.
        engine: of whose ranks the first writes.
        resume: none, auto, latest, best, or the path of a run or of a step.
        resume_force: continue although configuration or data differ.
        every: optimizer steps between two checkpoints, or a fraction of the run; None for the best and the last alone.
        saving_limit: checkpoints to keep; None for all.
        keep: which steps are saved and kept besides.
        asynchronous: write the copied state while training continues.
        on_full: whether a full disk ends the run, or the checkpoint is left out.
        lock: of the checkpoints on rank 0, None elsewhere.

    Attributes:
        last: directory of the step that was saved or loaded last (rank 0).
        metrics: those of the step that was loaded.
    """

    def __init__(
        self,
        *,
        identity: Identity,
        engine: Engine,
        resume: str,
        resume_force: bool,
        every: int | float | None,
        saving_limit: int | None,
        keep: Keep,
        asynchronous: bool,
        on_full: OnFull,
        lock: Lock | None,
    ) -> None:
        self.last: Path | None = None
        self.metrics: dict[str, float] = {}
        self._identity = identity
        self._directory = identity.run_dir / resumption.STEPS
        self._engine = engine
        self._resume = resume
        self._resume_force = resume_force
        self._every = every
        self._saving_limit = saving_limit
        self._keep = keep
        self._asynchronous = asynchronous
        self._on_full = on_full
        self._give_up = None if lock is None else weakref.finalize(self, lock.release)
        self._writer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoint")
        self._pending: Future[None] | None = None

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None or (isinstance(error, Preempted) and error.together):
            self.finish()
        else:
            self.abandon()

    def due(self, progress: Progress, *, total_steps: int) -> bool:
        """Whether to save now: at every interval, and whenever the run has never been better."""
        every = in_steps(self._every, total_steps)
        at_interval = every is not None and progress.step % every == 0
        return at_interval or progress.step in progress.worth(self._keep)

    def save(self, state: State, *, metrics: Mapping[str, float]) -> None:
        """Save the state as step `state.progress.step`; every rank must call it, and all raise if it fails.

        A failure leaves training and all earlier checkpoints as they were. With asynchronous=true it shows at the
        next save or at finish.
        """
        self._wait()
        write_weights = state.weights.snapshot()
        parts = {name: part.state_dict() for name, part in _parts(state).items()}
        if self._engine.rank == 0:
            copied = Snapshot(
                step=state.progress.step,
                pointers=state.progress.notable(),
                kept=state.progress.worth(self._keep),
                write_weights=write_weights,
                parts={name: serialize.encode(part) for name, part in parts.items()},
                metrics=dict(metrics),
                config=self._identity.config,
                facts=self._identity.facts,
            )
            self._pending = self._writer.submit(self._write, copied)
        if not self._asynchronous:
            self._wait()

    def restore(self, state: State) -> bool:
        """Continue from the checkpoint that `resume` selects; every rank must call it.

        Returns:
            Whether there was one.

        Raises:
            UserError: no whole checkpoint is found though `resume` demands one, the data differ, anything else differs
                with resume=auto, or the saved weights do not fit.
        """
        step = agree(self._engine, lambda: self._identity.find(self._resume, force=self._resume_force))
        if step is not None:
            self._load(state, step, _parts(state))
        return step is not None

    def go_back(self, state: State, *, but: Collection[str]) -> None:
        """Return to what this run last saved or began with, except for the parts `but`; every rank must call it.

        Raises:
            UserError: there is no such checkpoint, or it is damaged.
        """
        self._wait()
        step = agree(self._engine, self._last_whole)
        self._load(state, step, {name: part for name, part in _parts(state).items() if name not in but})

    def finish(self) -> None:
        """Wait for what is still being written; every rank must call it."""
        self._wait()
        self.abandon()

    def abandon(self) -> None:
        """Let the writing end and give up the directory, without asking the other ranks."""
        self._writer.shutdown()
        if self._give_up is not None:
            self._give_up()

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
                f"{self._directory.parent}: this run has no checkpoint yet to go back to; "
                "with a smaller checkpoint.checkpointing_steps it has"
            )
        if faults := manifest.faults(self.last):
            raise UserError(f"{self.last}, which the run has to go back to, is damaged: {'; '.join(faults)}")
        return self.last

    def _wait(self) -> None:
        """Wait for the last save; all ranks raise if it failed."""
        pending, self._pending = self._pending, None
        agree(self._engine, partial(self._result, pending))

    def _result(self, pending: Future[None] | None) -> None:
        """What came of the last save: with on_full=skip, a full disk is a warning."""
        try:
            if pending is not None:
                pending.result()
        except DiskFullError as error:
            if self._on_full == "stop":
                raise
            log.warning("%s; the run goes on without it (checkpoint.on_full=skip)", error)

    def _write(self, copied: Snapshot) -> None:
        """The part that may run in another thread."""
        self.last = copied.write(self._directory)
        copied.settle(self._directory, saving_limit=self._saving_limit)


def claim(run_dir: Path) -> Lock:
    """Lock the checkpoints of a run, and clear away what a crash left half-written.

    The lock comes first: what lies there half-written may be what a living run is writing.

    Raises:
        UserError: another process trains in it, or it cannot be written.
    """
    lock = run_directory.hold(run_dir)
    snapshot.clear(run_dir / resumption.STEPS)
    return lock


def farewell(run_dir: Path) -> str:
    """Note that a second Ctrl-C ends the run at once, and say which checkpoint there is."""
    step = resumption.saved(run_dir)
    left = "with no checkpoint" if step is None else f"{step} is there"
    status.update(run_dir, state="preempted", reason=f"stopped at once; {left}")
    return f"stopped at once; {left}"


def agree(engine: Engine, decide: Callable[[], T]) -> T:
    """What rank 0 decides, on every rank; where it fails, all ranks raise."""
    error: Exception | None = None
    answer: tuple[Any, str | None] = (None, None)
    if engine.rank == 0:
        try:
            answer = decide(), None
        except Exception as caught:
            error, answer = caught, (None, str(caught))
    value, message = engine.share(answer)
    if message is not None:
        raise error if error is not None else UserError(message)
    return cast(T, value)


def _parts(state: State) -> dict[str, Stateful]:
    return {"progress": state.progress, **state.parts}
