"""A hub that cannot be reached (F20): what is in the cache is taken at once, and what is not is one clear error."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_models import save_random

REVISION = "1" * 40
SCRIPT = """
import json, torch
from mftcoder.cli.config import build, load
model = build(load("model=path", "model.pretrained_model_path=some/model")["model"])
done = []
for read in (model.tokenizer, lambda: model.load(None, torch.device("cpu"), frozen=True)):
    try:
        done.append(type(read()).__name__)
    except ValueError as error:
        done.append(str(error))
print(json.dumps(done))
"""


@pytest.fixture(scope="module")
def cached(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    """A cache as huggingface_hub lays it out, with one model in it."""
    cache = tmp_path_factory.mktemp("cache")
    model = cache / "models--some--model"
    snapshot = model / "snapshots" / REVISION
    for directory in (model / "refs", model / "blobs", snapshot):
        directory.mkdir(parents=True)
    (model / "refs" / "main").write_text(REVISION)
    for file in save_random("llama", tmp_path_factory.mktemp("llama"), tokenizer).iterdir():
        blob = hashlib.sha256(file.read_bytes()).hexdigest()
        shutil.copy(file, model / "blobs" / blob)
        (snapshot / file.name).symlink_to(Path("../../blobs") / blob)
    return cache


def without_hub(cache: Path) -> tuple[list[str], str]:
    """What loading tokenizer and model gives in a process whose hub is a port where nobody listens; its messages."""
    env = {name: value for name, value in os.environ.items() if name != "HF_HUB_OFFLINE"}
    env |= {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HUB_CACHE": str(cache)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, timeout=100, check=True
    )
    return json.loads(done.stdout.splitlines()[-1]), done.stderr


@pytest.mark.slow
def test_f20_what_is_in_the_cache_is_taken_with_one_warning(cached: Path) -> None:
    done, messages = without_hub(cached)
    assert done[1] == "LlamaForCausalLM"
    assert "Tokeniz" in done[0]
    assert messages.count("http://127.0.0.1:9 cannot be reached") == 1
    assert "Retrying" not in messages


@pytest.mark.slow
def test_f20_what_is_not_there_is_one_clear_error(tmp_path: Path) -> None:
    done, messages = without_hub(tmp_path)
    assert all("of 'some/model' cannot be loaded: We couldn't connect" in error for error in done)
    assert "Retrying" not in messages
