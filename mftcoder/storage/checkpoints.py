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

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from mftcoder.core.errors import raise_faults
from mftcoder.core.lengths import length_fault
from mftcoder.core.progress import Keep
from mftcoder.engine.base import Engine
from mftcoder.storage.identity import Identity
from mftcoder.storage.session import OnFull, Session, agree, claim
from mftcoder.system.lock import Lock


class Checkpoints:
    """How often a run saves its state, and how many checkpoints it keeps.

    Args:
        checkpointing_steps: optimizer steps between two checkpoints, or a fraction of the run; None for the best and
            the last alone.
        saving_limit: checkpoints to keep, None for all; the newest and the best always stay.
        keep: what is saved and stays besides: the best step of each task, or the Pareto set.
        asynchronous: copy the state, then write it while training continues.
        on_full: what a full disk leads to: stop the run, or skip the checkpoint with a warning.

    Raises:
        ValueError: checkpointing_steps is neither steps nor a fraction.
    """

    def __init__(
        self,
        *,
        checkpointing_steps: int | float | None,
        saving_limit: Annotated[int, Field(ge=1)] | None,
        keep: Keep,
        asynchronous: bool,
        on_full: OnFull,
    ) -> None:
        raise_faults(filter(None, [length_fault("checkpointing_steps", checkpointing_steps)]), ValueError)
        self.checkpointing_steps = checkpointing_steps
        self.saving_limit = saving_limit
        self.keep = keep
        self.asynchronous = asynchronous
        self.on_full = on_full

    def open(
        self,
        *,
        run_dir: Path,
        engine: Engine,
        config: Mapping[str, Any],
        facts: Mapping[str, Any],
        resume: str,
        resume_force: bool,
    ) -> Session:
        """Lock the run's directory and clear away what a crash left half-written; every rank must call it.

        Args:
            run_dir: the run's directory, shared by all ranks.
            engine: started, so that its ranks can agree.
            config: the resolved configuration, JSON values only.
            facts: what else a resuming run must have in common, see `Identity`.
            resume: none, auto, latest, best, or the path of a run or of a step.
            resume_force: continue although configuration or data differ.

        Raises:
            UserError: on all ranks, where another process trains in the directory or it cannot be written.
        """
        locks: list[Lock] = []
        agree(engine, lambda: locks.append(claim(run_dir)))  # On rank 0 alone.
        return Session(
            identity=Identity(run_dir=run_dir, config=config, facts=facts),
            engine=engine,
            resume=resume,
            resume_force=resume_force,
            every=self.checkpointing_steps,
            saving_limit=self.saving_limit,
            keep=self.keep,
            asynchronous=self.asynchronous,
            on_full=self.on_full,
            lock=locks[0] if locks else None,
        )
