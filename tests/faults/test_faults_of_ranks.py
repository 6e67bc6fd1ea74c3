"""F3, F9, F10, F14 with two processes: one of them fails, hangs or is asked to stop, or another number goes on."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from ranks import import_deepspeed, on_ranks
from run_files import anomalies, metrics, without
from safetensors.torch import load_file

from mftcoder.cli import config
from mftcoder.launch import worker
from mftcoder.storage import resumption, status

ROOT = Path(__file__).parents[2]
SMOOTH = "optimizer.eps=1e-4"  # By default Adam makes a leap of the rounding error of a gradient that is nearly 0.


@pytest.fixture(scope="module")
def run(run):
    """One process, as smooth as those of `launch`."""
    return lambda run_dir, *overrides: run(run_dir, SMOOTH, *overrides)


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    run_dir = tmp_path_factory.mktemp("smooth") / "whole"
    return run_dir, run(run_dir)


# At the same global batch as one process has.
SHAPE = ("engine.num_processes=2", "engine.device=cpu", "training.per_device_train_batch_size=1")


def on_two(options: list[str], run_dir: Path, *overrides: str) -> str:
    """Two forked processes do what the launcher's workers do; what they wrote."""
    tree = config.load(*options, SMOOTH, *SHAPE, *overrides)
    if "Zero3" in tree["engine"]["_target_"]:
        import_deepspeed()
    run_dir.mkdir(exist_ok=True)
    logs = Path(f"{run_dir}-logs-{time.monotonic_ns()}")
    on_ranks(2, lambda: worker.work(tree, run_dir), logs, seconds=300)
    return "".join(log.read_text() for log in logs.iterdir())


def launch(options: list[str], run_dir: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """The command line with two processes."""
    words = [*options, SMOOTH, *SHAPE, f"hydra.run.dir={run_dir}", *overrides]
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(map(str, (ROOT / "tests" / "support", ROOT))),
    }
    command = [sys.executable, str(ROOT / "launch.py"), *words]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, cwd=ROOT, env=env, timeout=300, check=False, **output)


def faulty(engine: str, preset: str = "ddp") -> list[str]:
    return [f"engine={preset}", "+trusted_targets=[faulty_engines]", f"engine._target_=faulty_engines.{engine}"]


@pytest.mark.slow
def test_f9_a_rank_that_hangs_ends_the_run_in_time(options, tmp_path):
    ended = launch(options, tmp_path / "a", *faulty("Hanging"), "engine.timeout_seconds=5")
    assert ended.returncode == 1, ended.stdout
    assert status.read(tmp_path / "a").state == "failed"
    assert resumption.find("auto", tmp_path / "a") is None
    assert "imed out" in status.read(tmp_path / "a").reason


def close(run_dir: Path, whole: Path) -> None:
    """The log of a run is that of another up to rounding, and so are the weights."""
    moody = ("seconds", "memory", "tokens_per", "supervised_tokens_per")
    logs = [{m["step"]: m for m in metrics(directory)} for directory in (run_dir, whole)]
    for step, line in logs[0].items():
        for name, value in line.items():
            if not name.startswith(moody):
                assert value == pytest.approx(logs[1][step][name], rel=1e-4, abs=1e-6), (step, name)
    weights = [load_file(d / "checkpoints" / "step_000006" / "adapter_model.safetensors") for d in (run_dir, whole)]
    torch.testing.assert_close(*weights, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["DDP", "FSDP2", "Zero3"])
def test_f10_nan_on_one_rank_sends_both_back_before_they_learn_it(whole, run, options, tmp_path, engine):
    poisoned = faulty(f"Poisoned{engine}", engine.lower())
    said = on_two(options, tmp_path / "a", *poisoned, "training.non_finite=rollback")
    assert "step 4: loss or gradient is not finite" in said
    (anomaly,) = anomalies(tmp_path / "a")
    norm = "inf" if engine == "Zero3" else "nan"  # DeepSpeed says inf for both.
    assert (anomaly["step"], anomaly["answer"], anomaly["grad_norm"]) == (4, "rollback", norm)
    close(without(run, whole[0], tmp_path / "b", back=2, bad=4), tmp_path / "a")


@pytest.mark.slow
def test_f3_f14_one_of_two_processes_is_asked_to_stop_and_one_goes_on(whole, run, options, tmp_path):
    ended = launch(options, tmp_path / "a", *faulty("Stopping"))
    assert ended.returncode == 85, ended.stdout
    assert status.read(tmp_path / "a").state == "preempted"
    step = resumption.newest(tmp_path / "a")
    assert step.name == "step_000003"
    run(tmp_path / "b", f"resume={step}")
    close(tmp_path / "b", whole[0])


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["fsdp2", "zero3"])
def test_f14_one_process_stopped_and_two_go_on(whole, options, tmp_path, engine):
    step = whole[0] / "checkpoints" / "step_000004"
    assert "differs" not in on_two(options, tmp_path / "a", f"engine={engine}", f"resume={step}")
    close(tmp_path / "a", whole[0])


@pytest.mark.slow
def test_f14_two_go_on_by_themselves_only_with_the_batch_that_one_had(whole, options, tmp_path):
    step = whole[0] / "checkpoints" / "step_000004"
    shutil.copytree(step, tmp_path / "a" / "checkpoints" / step.name)
    doubled = "training.per_device_train_batch_size=2"
    refusal = "packs of a global batch: 4 there, 8 here; training.gradient_accumulation_steps=1 keeps it"
    with pytest.raises(AssertionError, match=refusal):
        on_two(options, tmp_path / "a", "engine=ddp", doubled, "resume=auto")
    kept = (doubled, "training.gradient_accumulation_steps=1")
    on_two(options, tmp_path / "a", "engine=ddp", *kept, "resume=auto")
    close(tmp_path / "a", whole[0])
