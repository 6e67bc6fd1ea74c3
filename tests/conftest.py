"""Shared fixtures: a toy tokenizer, which needs no network, and whole runs of a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from small_tasks import OPTIONS, SIZES, record
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mftcoder.cli import config
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


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with one for each of three tasks."""
    root = tmp_path_factory.mktemp("tasks")
    for task, size in SIZES.items():
        (root / task).mkdir()
        lines = [json.dumps(record(task, n)) for n in range(size)]
        (root / task / "data.jsonl").write_text("\n".join(lines) + "\n")
    return root


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
