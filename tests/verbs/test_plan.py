"""The verb plan: its table, its file, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import MixtralConfig

from mftcoder.cli import config
from mftcoder.core.errors import UserError


def plan(tmp_path: Path, *overrides: str) -> dict[str, Any]:
    """Run the verb as the command line would; what is in plan.json."""
    tree = config.load("model=tiny", f"model.directory={tmp_path}/models", *overrides, config_name="plan")
    function, arguments = config.verb(tree)
    function(**arguments, run_dir=tmp_path)
    found: dict[str, Any] = json.loads((tmp_path / "plan.json").read_text())
    return found


def test_the_table_and_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = plan(tmp_path, "processes=[1,4]")
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("LlamaForCausalLM", "single", "zero3", "fsdp2", "GB sent"))
    needs = {(need["engine"], need["processes"]): need["bytes"] for need in found["needs"]}
    assert needs["single", 4] is None
    assert needs["fsdp2", 4] < needs["fsdp2", 1]
    assert needs["ddp", 4] == needs["ddp", 1] == needs["single", 1]
    assert found["model"]["kept"] > 0


def test_longer_rows_and_trained_bases_need_more(tmp_path: Path) -> None:
    def single(*overrides: str) -> float:
        return float(plan(tmp_path, *overrides)["needs"][0]["bytes"])

    assert single("seq_length=512") < single("seq_length=1024")
    assert single("seq_length=512") < single("seq_length=512", "per_device_train_batch_size=2")
    assert single("peft=lora") < single("peft=none")
    assert single("peft=none", "optimizer=adamw8bit") < single("peft=none")


def test_numbers_below_one_are_refused_together(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"processes=\[1,8,\.\.\.\] must all be above 0, not 0, 1, 8, -1"):
        plan(tmp_path, "seq_length=0", "processes=[-1]")


def test_the_experts_of_a_mixture_count_with_4_bits(tmp_path: Path) -> None:
    """Two layers of Mixtral-8x7B, whose sizes are transformers' defaults; all 32 come to 25 GB in the place of 93."""
    MixtralConfig(num_hidden_layers=2).save_pretrained(tmp_path / "mixtral")
    path = f"model.pretrained_model_path={tmp_path}/mixtral"
    tree = config.load("model=path", path, "peft=qlora", "processes=[1]", "seq_length=128", config_name="plan")
    function, arguments = config.verb(tree)
    function(**arguments, run_dir=tmp_path)
    model = json.loads((tmp_path / "plan.json").read_text())["model"]
    embeddings, layers = 2 * 32000 * 4096, model["frozen"] - 2 * 32000 * 4096
    assert layers > 2.8e9
    assert model["frozen_bytes"] == pytest.approx(2 * embeddings + layers * 4.127 / 8, rel=1e-3)
    assert model["kept"] > 0
