"""Three small tasks, and the settings with which a tiny model trains on them in seconds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZES = {"add": 40, "double": 16, "say": 6}
OPTIONS = (
    "model=tiny",
    "model.num_hidden_layers=2",
    "model.hidden_size=64",
    "data=folders",
    "tracker=[jsonl]",
    "optimizer.lr=0.01",
    "scheduler=constant",
    "data.seq_length=64",
    "data.data_split=[80,20,0]",
    "training.max_train_steps=6",
    "training.per_device_train_batch_size=2",
    "training.gradient_accumulation_steps=2",
    "training.log_interval=1",
    "training.evaluation_steps=2",
    "training.sample_tokens=4",
    "checkpoint.checkpointing_steps=2",
    "checkpoint.saving_limit=null",
)


def record(task: str, n: int) -> dict[str, Any]:
    question, answer = {
        "add": (f"{n} + 1", str(n + 1)),
        "double": (f"twice {n}", str(2 * n)),
        "say": (f"say it {n} times", "it " * (n % 4 + 1)),
    }[task]
    rounds = [{"role": "human", "content": question}, {"role": "bot", "content": answer}]
    return {"id": n, "chat_rounds": rounds}


def train_only(root: Path, *tasks: str) -> str:
    """The override for a copy of the three tasks, of which these have nothing but a train.jsonl."""
    for task, size in SIZES.items():
        (root / task).mkdir(parents=True)
        lines = "".join(json.dumps(record(task, n)) + "\n" for n in range(size))
        (root / task / ("train.jsonl" if task in tasks else "data.jsonl")).write_text(lines)
    return f"data.paths=[{','.join(str(root / task) for task in SIZES)}]"
