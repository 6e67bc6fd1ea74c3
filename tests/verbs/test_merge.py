"""The verb merge: the step that it writes holds the combined updates, and equal inputs stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from saved_runs import SavedRun, save_run
from small_models import some_ids

from mftcoder.cli import config
from mftcoder.core.errors import ConfigError
from mftcoder.model.merging import combined
from mftcoder.storage.adapters import read_adapter
from mftcoder.storage.restored import find
from mftcoder.system import manifest
from mftcoder.verbs.merge import merge

STEP = Path("checkpoints") / "step_000002"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[SavedRun]:
    """Two runs with different adapters, of different rank and scaling, over one base."""
    root = tmp_path_factory.mktemp("runs")
    base = f"model.directory={root / 'models'}"
    return [
        save_run(root / "a", "peft=lora", base, "peft.lora_rank=4", "peft.lora_alpha=8"),
        save_run(root / "b", "peft=lora", base, "peft.lora_rank=2", "peft.lora_alpha=3", scale=0.2),
    ]


def call(inputs: list[Path], run_dir: Path, *overrides: str) -> Path:
    """The verb as the launcher calls it; the step that it wrote."""
    named = f"inputs=[{','.join(map(str, inputs))}]"
    verb, parts = config.verb(config.load(named, *overrides, config_name="merge"))
    assert verb is merge
    verb(**parts, run_dir=run_dir)
    return run_dir / "checkpoints" / "step_000000"


def updates(step: Path) -> dict[str, torch.Tensor]:
    return {module: update.dense.double() for module, update in read_adapter(step).updates.items()}


def test_a_mean_is_exact_and_the_step_is_whole(
    runs: list[SavedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    step = call([run.directory for run in runs], tmp_path, "coefficients=[1,3]")
    a, b = (updates(run.directory / STEP) for run in runs)
    for module, merged in updates(step).items():
        torch.testing.assert_close(merged, (a[module] + 3 * b[module]) / 4, rtol=1e-5, atol=1e-7)
    assert manifest.faults(step) == []
    facts = json.loads((step / "merge.json").read_text())
    assert [entry["coefficient"] for entry in facts["inputs"]] == [1, 3]
    assert "departs" not in capsys.readouterr().out
    net, tokenizer = find(str(tmp_path), model="run", quantization="run").load(torch.device("cpu"))
    assert len(tokenizer) == 2048
    assert bool(torch.isfinite(net(input_ids=some_ids()).logits).all())


@pytest.mark.parametrize("coefficients", ["null", "[0.25,0.75]", "[2,2]"])
def test_equal_adapters_give_that_adapter_to_the_bit(runs: list[SavedRun], tmp_path: Path, coefficients: str):
    step = call([runs[0].directory, runs[0].directory / STEP], tmp_path, f"coefficients={coefficients}")
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        assert (step / name).read_bytes() == (runs[0].directory / STEP / name).read_bytes()


@pytest.mark.parametrize("method", ["task_arithmetic", "slerp", "ties", "dare", "dare_ties"])
def test_each_method_is_its_formula_at_full_rank(runs: list[SavedRun], tmp_path: Path, method: str):
    step = call(
        [run.directory for run in runs], tmp_path, f"method={method}", "coefficients=[0.5,0.7]", "lora_rank=256"
    )
    a, b = (updates(run.directory / STEP) for run in runs)
    for module, merged in updates(step).items():
        parts = [a[module].float(), b[module].float()]
        wanted = combined(parts, [0.5, 0.7], method=method, density=0.5, seed=1234)  # type: ignore[arg-type]
        torch.testing.assert_close(merged.float(), wanted, rtol=1e-4, atol=1e-6)


def test_a_lower_rank_is_the_nearest_and_says_what_it_loses(
    runs: list[SavedRun], tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    step = call([run.directory for run in runs], tmp_path, "lora_rank=3")
    assert json.loads((step / "adapter_config.json").read_text())["r"] == 3
    assert "departs from the merged update by at most" in capsys.readouterr().out
    assert 0 < max(json.loads((step / "merge.json").read_text())["relative_error"].values()) < 1


def test_all_faults_are_told_at_once_and_nothing_is_written(runs: list[SavedRun], tmp_path: Path):
    with pytest.raises(ConfigError) as caught:
        call([runs[0].directory], tmp_path, "coefficients=[1,-1]", "density=2", "lora_rank=0", "method=slerp")
    faults = "\n".join(caught.value.faults)
    for word in ("inputs:", "2 numbers for 1", "sum to 0", "slerp joins two", "density: 2", "lora_rank: 0"):
        assert word in faults
    assert list(tmp_path.iterdir()) == []


def test_other_bases_are_refused_by_name(runs: list[SavedRun], tmp_path: Path):
    other = save_run(tmp_path / "other", "peft=lora")
    with pytest.raises(ConfigError, match=r"different base models cannot be merged: .* over .*; .*other.* over "):
        call([runs[0].directory, other.directory], tmp_path / "out")
