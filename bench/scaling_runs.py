"""For bench/scaling.py: the runs that are measured, each put together as the verb train does."""

from __future__ import annotations

import gc
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch.distributed.tensor import DTensor
from train_inputs import memory
from train_trainer import make_trainer

from mftcoder.cli.config import build, load
from mftcoder.core.batch import Sample
from mftcoder.core.progress import Progress
from mftcoder.core.rng import Generators
from mftcoder.core.state import State
from mftcoder.data.corpus.tables import Split
from mftcoder.data.stream.sampler import Sampler
from mftcoder.model.weights import ModelWeights
from mftcoder.storage import resumption
from mftcoder.storage.checkpoints import Checkpoints
from mftcoder.storage.session import Session
from mftcoder.training.loop import MicroBatches, Trainer

MODEL = {"hidden_size": 512, "intermediate_size": 1408, "num_hidden_layers": 8, "num_attention_heads": 8}
PEFT = {"lora": "lora", "full": "none"}
TOKENS, WARM_UP, STEPS = 256, 2, 5
SAVES, BETWEEN = 5, 6  # saves of each kind, and steps timed after each
LENGTHS = (10, 100, 1_000, 10_000)
Result = dict[str, Any]


def tree(engine: str, method: str, directory: Path) -> dict[str, Any]:
    """The configuration of a run, as `python launch.py` would have it."""
    changes = [f"model.{name}={value}" for name, value in MODEL.items()]
    own = [f"model.directory={directory}", f"engine={engine}", "engine.device=cpu", f"peft={PEFT[method]}"]
    return load("model=tiny", *changes, *own)


def micro_batches(number: int, rank: int) -> MicroBatches:
    """One pack of two dialogues of random tokens, the second half of each supervised."""
    rng, half = np.random.default_rng([number, rank]), TOKENS // 2
    supervised = np.arange(half) >= half // 2
    return [[Sample(rng.integers(10, 1000, half, dtype=np.int32), supervised, 0, i) for i in range(2)]]


def steps(trainer: Trainer, first: int, last: int) -> list[float]:
    """Seconds of each of some steps."""
    seconds = []
    for number in range(first, last):
        batch = micro_batches(number, trainer.engine.rank)
        begun = time.perf_counter()
        trainer.step(number, batch)
        seconds.append(time.perf_counter() - begun)
    return seconds


def held_bytes() -> int:
    """Of all tensors that are alive, each storage once."""
    tensors = [t for t in gc.get_objects() if isinstance(t, torch.Tensor)]
    tensors += [t.grad for t in tensors if t.is_leaf and t.grad is not None]
    parts = [t.to_local() if isinstance(t, DTensor) else t for t in tensors]
    return sum({s.data_ptr(): s.nbytes() for s in (t.untyped_storage() for t in parts)}.values())


def held_before_update(trainer: Trainer) -> int:
    """Bytes of tensors between the backward pass and the update of one more step: weights, gradients, moments."""
    clip, found = trainer.engine.clip, 0

    def look(max_norm: float | None) -> float:
        nonlocal found
        found = held_bytes()
        return clip(max_norm)

    trainer.engine.clip = look  # type: ignore[method-assign]
    steps(trainer, 0, 1)
    return found


def engine_case(engine: str, method: str, directory: Path) -> Result:
    """On one rank: seconds of a step, and bytes over those before the model, without those of libraries."""
    before = memory("RssAnon")
    trainer, _ = make_trainer(tree(engine, method, directory))
    seconds = steps(trainer, 0, WARM_UP + STEPS)[WARM_UP:]
    parameters = list(trainer.engine.module.parameters())
    numels = [getattr(p, "ds_numel", p.numel()) for p in parameters]  # ZeRO-3 leaves empty ones behind.
    trained = sum(n for n, p in zip(numels, parameters, strict=True) if p.requires_grad)
    peak = memory("VmHWM") - memory("RssFile") - before
    held = held_before_update(trainer)
    trainer.engine.finish()
    sizes = {"trained": trained, "frozen": sum(numels) - trained}
    return {"seconds": median(seconds), "peak": peak, "held": held, **sizes}


class Nothing:
    """A part without a state."""

    def state_dict(self) -> dict[str, Any]:
        """None of it."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Nothing to do."""


def checkpoints_of(run_dir: Path, trainer: Trainer, *, asynchronous: bool, resume: str = "none") -> Session:
    settings = Checkpoints(
        checkpointing_steps=1, saving_limit=2, keep="best", asynchronous=asynchronous, on_full="stop"
    )
    engine = trainer.engine
    return settings.open(run_dir=run_dir, engine=engine, config={}, facts={}, resume=resume, resume_force=False)


def make_state(trainer: Trainer, tokenizer: Any, sampler: Any) -> State:
    """As the verb train puts it together."""
    engine = trainer.engine
    rng = Generators(rank=engine.rank, gather=engine.gather)
    parts = {"optimizer": engine, "balancer": trainer.balancer, "sampler": sampler, "rng": rng}
    weights = ModelWeights(engine, engine.module.net, tokenizer)  # type: ignore[arg-type]
    return State(weights, Progress(), {**parts, "effective": trainer.effective})


def checkpoints(directory: Path) -> Result:
    """Seconds that the loop waits in a save, and by which the steps after it are slower than those without."""
    trainer, model = make_trainer(tree("single", "full", directory))
    state = make_state(trainer, model.tokenizer(), Nothing())
    savers = {
        kind: checkpoints_of(directory / kind, trainer, asynchronous=kind == "asynchronous")
        for kind in ("synchronous", "asynchronous")
    }
    waits: dict[str, list[float]] = {kind: [] for kind in savers}
    slower: dict[str, list[float]] = {kind: [] for kind in savers}
    steps(trainer, 0, WARM_UP)
    plain: list[float] = []
    for _ in range(SAVES):
        for kind, saver in savers.items():
            plain += steps(trainer, 0, BETWEEN)
            state.progress.step += 1
            begun = time.perf_counter()
            saver.save(state, metrics={})
            waits[kind].append(time.perf_counter() - begun)
            slower[kind].append(sum(steps(trainer, 0, BETWEEN)))
            saver._wait()  # so that the steps of the next kind have the machine to themselves
    step = median(plain)
    newest = resumption.newest(directory / "synchronous")
    assert newest is not None
    size = sum(file.stat().st_size for file in newest.iterdir())
    found: Result = {"step_seconds": step, "bytes": size}
    for kind, saver in savers.items():
        saver.finish()
        found[kind] = {"waits": median(waits[kind]), "slower": median(slower[kind]) - BETWEEN * step}
    return found


def make_sampler(directory: Path) -> Sampler:
    """Of the stream of packs over 30 000 dialogues of three tasks."""
    rng, tasks = np.random.default_rng(0), ("one", "two", "three")
    lengths = [np.clip(rng.lognormal(5.5, 0.6, 10_000), 20, 1000).astype(np.int32) for _ in tasks]
    tables: list[Any] = [SimpleNamespace(lengths=n, targets=n // 2) for n in lengths]
    split = Split(tasks, tables, [np.arange(len(n)) for n in lengths], directory)
    sampler: Sampler = build(load()["data"]).sampler(split, packs_per_step=8, seed=0)
    return sampler


def resuming(directory: Path) -> list[Result]:
    """Seconds from a checkpoint to the next global batch, after so many steps."""
    trainer, model = make_trainer(tree("single", "lora", directory))
    steps(trainer, 0, 1)
    rows = []
    for length in LENGTHS:
        sampler = make_sampler(directory)
        for _ in range(length):
            sampler.take()
        state = make_state(trainer, model.tokenizer(), sampler)
        state.progress.step = length
        state.progress.validations = [(step, {"all": 1 / step}) for step in range(100, length + 1, 100)]
        run_dir = directory / str(length)
        checkpoints_of(run_dir, trainer, asynchronous=False).save(state, metrics={})
        expected, seconds = sampler.take(), []
        for _ in range(3):
            begun = time.perf_counter()
            fresh = make_sampler(directory)
            again = make_state(trainer, model.tokenizer(), fresh)
            assert checkpoints_of(run_dir, trainer, asynchronous=False, resume="latest").restore(again)
            assert fresh.take() == expected
            seconds.append(time.perf_counter() - begun)
        rows.append({"steps": length, "seconds": median(seconds)})
    return rows
