"""A toy training with checkpoints, whose every bit depends on weights, optimizer and generators."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from mftcoder.core.progress import Progress
from mftcoder.core.rng import Generators
from mftcoder.core.state import State
from mftcoder.engine.single import Single
from mftcoder.storage.checkpoints import Checkpoints


class EngineWeights:
    def __init__(self, engine: Single) -> None:
        self.engine = engine

    def snapshot(self) -> Callable[[Path], None]:
        weights = self.engine.weights()
        return lambda directory: save_file(weights, directory / "model.safetensors")

    def load(self, directory: Path) -> None:
        self.engine.load_weights(load_file(directory / "model.safetensors"))


class Run:
    """A toy training with dropout and AdamW, whose every bit depends on weights, optimizer and generators."""

    def __init__(self, run_dir: Path, config: dict[str, Any] | None = None, **changes: Any) -> None:
        self.engine = Single(device="cpu", mixed_precision="no", num_processes=1)
        self.engine.start(seed=1)
        model = nn.Sequential(nn.Linear(4, 8), nn.Dropout(0.5), nn.Linear(8, 1))
        self.engine.prepare(model, lambda m: torch.optim.AdamW(m.parameters(), lr=0.1))
        self.progress = Progress()
        parts = {"optimizer": self.engine, "rng": Generators(rank=0, gather=self.engine.gather)}
        self.state = State(EngineWeights(self.engine), self.progress, parts)
        resume = {"resume": changes.pop("resume", "none"), "resume_force": changes.pop("resume_force", False)}
        about = {"config": config or {"model": "toy"}, "facts": changes.pop("facts", {})}
        settings = {
            "checkpointing_steps": 1,
            "saving_limit": None,
            "keep": "best",
            "asynchronous": False,
            "on_full": "stop",
        }
        opened = Checkpoints(**{**settings, **changes}).open(run_dir=run_dir, engine=self.engine, **about, **resume)
        self.checkpoints = opened

    def train(self, steps: int) -> None:
        for _ in range(steps):
            with self.engine.micro_batch(last=True):
                self.engine.backward(self.engine.model(torch.randn(5, 4)).square().mean())
            self.engine.step()
            self.progress.step += 1

    def save(self) -> None:
        self.checkpoints.save(self.state, metrics={"valid/loss": 0.5})

    def trained(self, *saved_at: int) -> Run:
        for step in saved_at:
            self.train(step - self.progress.step)
            self.save()
        return self

    @property
    def bits(self) -> dict[str, bytes]:
        return {name: t.numpy().tobytes() for name, t in self.engine.weights().items()}
