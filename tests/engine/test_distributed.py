"""What several processes have in common; that each engine computes the same with them shows test_parity.py."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from small_models import preset

from mftcoder.cli.config import load
from mftcoder.core.errors import ConfigError, UserError


def test_numbers_that_are_not_above_0_are_refused_all_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        preset("engine/ddp", num_processes=0, timeout_seconds=-1.0, context_parallel=0)
    text = str(caught.value)
    assert all(f"engine.{key} is not above 0" in text for key in ("num_processes: 0", "context_parallel: 0"))
    assert "engine.timeout_seconds: -1.0 is not above 0" in text


@pytest.mark.parametrize("engine", ["ddp", "zero1", "zero2", "zero3", "fsdp2"])
def test_groups_must_divide_the_processes(engine: str) -> None:
    with pytest.raises((ConfigError, UserError), match=r"3 process\(es\) cannot form groups of 2; take a divisor"):
        preset(f"engine/{engine}", num_processes=3, num_nodes=1, context_parallel=2)
    preset(f"engine/{engine}", num_processes=2, num_nodes=3, context_parallel=3)


@pytest.mark.parametrize("engine", ["ddp", "zero2", "fsdp2"])
@pytest.mark.parametrize(
    ("override", "reason"),
    [
        ("data.padding_mode=padding", "shares packed rows, and data.padding_mode=padding packs none"),
        ("model.attn_implementation=flash_attention_2", "take model.attn_implementation=sdpa"),
    ],
)
def test_what_cannot_share_rows_is_refused_with_the_remedy(engine: str, override: str, reason: str) -> None:
    load(f"engine={engine}", override)
    load(f"engine={engine}", "engine.context_parallel=2")
    with pytest.raises(ConfigError, match=reason):
        load(f"engine={engine}", "engine.context_parallel=2", override)


def launched(directory: Path, *words: str) -> Path:
    """The directory of a run of two processes that share each row."""
    engine = ("engine=ddp", "engine.device=cpu", "engine.num_processes=2", "engine.context_parallel=2")
    command = [sys.executable, str(Path(__file__).parents[2] / "launch.py"), *words, *engine]
    ended = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    (found,) = (directory / "runs" / ("evaluate" if words[0] == "evaluate" else "train")).iterdir()
    return found


def values(line: dict[str, Any]) -> dict[str, Any]:
    """Metrics of what was computed, not of how fast."""
    return {k: v for k, v in line.items() if k.partition("/")[0] in ("train", "valid", "step", "tokens", "grad_norm")}


@pytest.mark.slow
def test_a_run_and_an_evaluation_with_shared_rows_are_those_of_one_process(
    options: list[str], run: Callable[..., Any], tmp_path: Path
) -> None:
    by_task = ("training.diagnostics_steps=3", "optimizer.eps=1e-4")  # With that, rounding errors stay small.
    run(tmp_path / "whole", *by_task)
    run_dir = launched(tmp_path, *options, *by_task)
    logs = [(d / "metrics.jsonl").read_text().splitlines() for d in (run_dir, tmp_path / "whole")]
    assert "train/gradient_cosine/add/say" in logs[0][3]
    for got, expected in zip(*logs, strict=True):
        assert values(json.loads(got)) == pytest.approx(
            values(json.loads(expected)), rel=1e-4, abs=1e-6
        )  # cosines near 0
    words = ("evaluate", f"checkpoint={run_dir}", "against=null", "generation_samples=0")
    kept = json.loads((launched(tmp_path, *words) / "results.json").read_text())["losses"]
    assert {k: kept[k] for k in kept if k.startswith("valid/")} == pytest.approx(
        {k: v for k, v in json.loads(got).items() if k.startswith("valid/")}, rel=1e-6
    )
