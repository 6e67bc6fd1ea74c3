"""Shared fixtures: a toy tokenizer, which needs no network, and whole runs of a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mftcoder import config
from mftcoder.tracker.base import Tracker

torch.set_num_threads(1)  # Threads cost more than they bring to models of this size, and tests run side by side.


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """One token a byte (ids 0 to 255 in the order of ByteLevel's alphabet), then <s> 256, </s> 257, <pad> 258."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    inner = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=inner, bos_token="<s>", eos_token="</s>", pad_token="<pad>")


CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] | trim + '<|im_end|>' + '\\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def chat_tokenizer(tokenizer: PreTrainedTokenizerFast) -> PreTrainedTokenizerFast:
    """The same with the tokens of ChatML 259, 260 and of Llama 3 261 to 264, and a chat template."""
    chat = deepcopy(tokenizer)
    names = "im_start", "im_end", "begin_of_text", "start_header_id", "end_header_id", "eot_id"
    chat.add_special_tokens({"extra_special_tokens": [f"<|{name}|>" for name in names]})
    chat.chat_template = CHAT_TEMPLATE
    return chat


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


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one for each of three tasks."""
    root = tmp_path_factory.mktemp("tasks")
    for task, size in SIZES.items():
        (root / task).mkdir()
        lines = [json.dumps(record(task, n)) for n in range(size)]
        (root / task / "data.jsonl").write_text("\n".join(lines) + "\n")
    return root


def train_only(root: Path, *tasks: str) -> str:
    """The override for a copy of the three tasks, of which these have nothing but a train.jsonl."""
    for task, size in SIZES.items():
        (root / task).mkdir(parents=True)
        lines = "".join(json.dumps(record(task, n)) + "\n" for n in range(size))
        (root / task / ("train.jsonl" if task in tasks else "data.jsonl")).write_text(lines)
    return f"data.paths=[{','.join(str(root / task) for task in SIZES)}]"


@pytest.fixture(scope="session")
def options(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The overrides of a run of a few seconds."""
    paths = ",".join(str(folders / task) for task in SIZES)
    return [*OPTIONS, f"data.paths=[{paths}]", f"cache_dir={tmp_path_factory.mktemp('cache')}"]


@pytest.fixture(scope="session")
def run(options: list[str]) -> Callable[..., float | None]:
    """Trains the tiny model in a directory, with overrides; `also` is one more tracker."""

    def go(run_dir: Path, *overrides: str, also: Tracker | None = None) -> float | None:
        tree = config.load(*options, *overrides)
        train, parts = config.verb(tree)
        if also is not None:
            parts["tracker"]["also"] = also
        run_dir.mkdir(parents=True, exist_ok=True)
        return train(**parts, run_dir=run_dir, config=tree)

    return go


@pytest.fixture(scope="session")
def whole(run: Callable[..., float], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, float]:
    """The directory and the metric of an uninterrupted run."""
    run_dir = tmp_path_factory.mktemp("runs") / "whole"
    return run_dir, run(run_dir)
