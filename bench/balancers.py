"""What does each balancer cost? Seconds of an optimizer step over one with equal weights, for 2, 5 and 20 tasks.

    python bench/balancers.py [out.json] [rounds]        prints the table of the README, and writes it as JSON

The tiny model with LoRA, steps of 8 micro-batches of 512 tokens, every balancer as its YAML has it and in the middle of
a run: its windows are filled with simulated losses first. All take turns in random order within each round, five steps
each, with the same model and batches. What a balancer that looks at losses adds to a step is timed in place: its
weights, and its observing with the probe. Gradient methods run other micro-batches too, so their whole step is compared
with the one of equal weights in the same round. Costs are medians over the rounds, of CPU time on one thread.
"""

from __future__ import annotations

import json
import platform
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from omegaconf import OmegaConf

from mftcoder.balancer.base import Balancer, GradientBalancer
from mftcoder.cli.config import build, conf_dir
from mftcoder.core.batch import Sample, TaskLosses
from mftcoder.data.stream.micro_batches import MicroBatcher
from mftcoder.engine.base import Engine
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.training.loop import MicroBatches, Trainer
from mftcoder.training.monitoring.validation import Validator

TASKS = (2, 5, 20)
MICRO_BATCHES, TOKENS, VOCABULARY = 8, 512, 1000
SEASON, BLOCK = 300, 5  # steps that came before; steps that are timed at once: the interval of CoBa's probes
NAMES = sorted(path.stem for path in (conf_dir() / "balancer").glob("*.yaml"))


class Held:
    """A split of random dialogues in memory."""

    def __init__(self, tasks: int) -> None:
        rng = np.random.default_rng(1)
        self.num_tasks = tasks
        self.samples = [[make_sample(rng, task) for _ in range(40)] for task in range(tasks)]

    def num_samples(self, task: int) -> int:
        """How many a task has."""
        return len(self.samples[task])

    def lengths(self, task: int) -> list[int]:
        """Tokens of each."""
        return [len(sample) for sample in self.samples[task]]

    def sample(self, task: int, index: int) -> Sample:
        """One of them."""
        return self.samples[task][index]


def make_sample(rng: np.random.Generator, task: int, longest: int = 200) -> Sample:
    """A dialogue of random tokens, the second half of it supervised."""
    length = min(longest, int(rng.integers(50, 200)))
    return Sample(rng.integers(10, VOCABULARY, length, dtype=np.int32), np.arange(length) > length // 2, task, 0)


def make_step(rng: np.random.Generator, tasks: int) -> MicroBatches:
    """Packs of TOKENS tokens; the tasks take turns, so that all of them come."""
    packs, task = [], 0
    for _ in range(MICRO_BATCHES):
        pack, room = [], TOKENS
        while room > 1:
            pack.append(make_sample(rng, task % tasks, room))
            room -= len(pack[-1])
            task += 1
        packs.append(pack)
    return packs


def season(balancer: Balancer, tasks: int) -> None:
    """Show it SEASON steps of simulated losses, so that its windows are as full as they get."""
    rng = np.random.default_rng(2)
    balancer.start([f"task{t}" for t in range(tasks)])
    for step in range(-1, SEASON):
        means = torch.from_numpy(1 + np.exp(-step / 100) + 0.01 * rng.normal(size=tasks))
        if isinstance(balancer, GradientBalancer):
            balancer.coefficients(step + 1, torch.eye(tasks, dtype=torch.float64), means / means.sum())
        if balancer.wants(step):
            balancer.observe(step, TaskLosses(means, torch.ones_like(means)))


def component(group: str, choice: str, **changes: Any) -> Any:
    """What a YAML of conf/ stands for."""
    node = OmegaConf.merge(OmegaConf.load(conf_dir() / group / f"{choice}.yaml"), changes)
    return build(OmegaConf.to_container(OmegaConf.create({"seed": 0, "node": node}), resolve=True)["node"])


def make_engine(directory: str) -> Engine:
    """The tiny model with LoRA on one process."""
    engine, peft = component("engine", "single", device="cpu"), component("peft", "lora")
    model = component("model", "tiny", directory=directory)
    engine.start(seed=0)
    net = peft.adapt(model.load(None, engine.device, frozen=True))
    engine.prepare(
        LossModel(net, loss_kernel="fused", packed=True),
        lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-4),
    )
    return engine


def make_trainer(engine: Engine, name: str, tasks: int) -> Trainer:
    balancer = component("balancer", name)
    season(balancer, tasks)
    pack = MicroBatcher(padding_mode="pack", pad_id=0, rank=0, ranks=1)
    validator = Validator(
        engine=engine,
        model=engine.model,
        split=Held(tasks),
        batcher=pack,
        tokens_per_batch=2 * TOKENS,
        samples_per_task=None,
        trained=[True] * tasks,
    )
    return Trainer(
        engine=engine,
        objective=component("objective", "sft"),
        balancer=balancer,
        batcher=pack,
        learning_rate=lambda peak, step: peak,
        max_grad_norm=1.0,
        diagnostics_steps=None,
        priors=lambda: torch.ones(tasks, dtype=torch.float64),
        expected=lambda: None,
        probe=validator.probe,
    )


class Timed:
    """Takes steps, and knows how long they took in all and in the balancer, probes included."""

    def __init__(self, trainer: Trainer) -> None:
        self.trainer, self.inside = trainer, 0.0
        for owner, name in ((trainer.balancer, "weights"), (trainer, "observe")):
            setattr(owner, name, self._timed(getattr(owner, name)))

    def _timed(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any) -> Any:
            begun = time.process_time()
            result = call(*arguments)
            self.inside += time.process_time() - begun
            return result

        return timed

    def run(self, first: int, batches: list[MicroBatches]) -> tuple[float, float]:
        """CPU seconds of a step: all of it, and the part in the balancer."""
        self.inside, begun = 0.0, time.process_time()
        for number, batch in enumerate(batches, first):
            self.trainer.step(number, batch)
        return (time.process_time() - begun) / len(batches), self.inside / len(batches)


def measure(engine: Engine, tasks: int, rounds: int) -> dict[str, list[tuple[float, float]]]:
    """CPU seconds of a step by balancer in each round, as Timed.run gives them; a first round is thrown away."""
    steppers = {name: Timed(make_trainer(engine, name, tasks)) for name in NAMES}
    rng = np.random.default_rng(0)
    seconds: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for turn in range(rounds + 1):
        batches = [make_step(rng, tasks) for _ in range(BLOCK)]
        for name in rng.permutation(NAMES):
            seconds[name].append(steppers[name].run(SEASON + turn * BLOCK, batches))
    return {name: times[1:] for name, times in seconds.items()}


def over_equal(seconds: dict[str, list[tuple[float, float]]], name: str) -> float:
    """A balancer's cost, as a share of the step with equal weights."""
    if isinstance(component("balancer", name), GradientBalancer):
        return median(a / b for (a, _), (b, _) in zip(seconds[name], seconds["equal"], strict=True)) - 1
    inside, equal = (median(part / (whole - part) for whole, part in seconds[n]) for n in (name, "equal"))
    return inside - equal


def main() -> None:
    rounds = int(sys.argv[2]) if len(sys.argv) > 2 else 12
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as directory:
        engine = make_engine(directory)
        seconds = {tasks: measure(engine, tasks, rounds) for tasks in TASKS}
    costs = {tasks: {name: over_equal(measured, name) for name in NAMES} for tasks, measured in seconds.items()}
    print(f"| balancer | {' | '.join(f'{tasks} tasks' for tasks in TASKS)} |\n|---|{'---|' * len(TASKS)}")
    base = [median(whole for whole, _ in measured["equal"]) for measured in seconds.values()]
    print(f"| equal (seconds a step) | {' | '.join(f'{s:.3f}' for s in base)} |")
    for name in sorted(set(NAMES) - {"equal"}):
        print(f"| {name} | {' | '.join(f'{costs[tasks][name]:+.2%}' for tasks in TASKS)} |")
    if len(sys.argv) > 1:
        about = {"torch": torch.__version__, "python": platform.python_version(), "rounds": rounds}
        Path(sys.argv[1]).write_text(json.dumps({**about, "over_equal": costs, "seconds": seconds}), encoding="utf-8")


if __name__ == "__main__":
    main()
