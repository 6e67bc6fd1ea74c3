"""Nothing is lost, whatever happens to a run: the faults by number, and the tests that inject them.

F1 killed at any step - F2 asked to stop - F3 at an awkward moment - F4 killed while saving - F5 killed at any change of
the file system - F6 leftovers - F7 damaged files - F8 full disk - F9 a rank fails or hangs - F10 not finite - F11 loss
spikes - F12 bad data - F13 bad caches - F14 other topology - F15 killed late in a mixture - F16 sweeps - F17 other
launchers - F18 malice - F19 stale environment - F20 no network.
"""

from __future__ import annotations

import json
import os
import pickle
import re
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from crashes import At, at_change, die, forked
from safetensors.torch import load_file
from test_checkpoint import Run, names
from test_train import metrics, step_files

from mftcoder import resumption, status
from mftcoder.core import manifest
from mftcoder.core.errors import UserError
from mftcoder.validation import Validator

ROOT = Path(__file__).parents[1]


def same_end(run_dir: Path, whole: Path) -> bool:
    """Whether a run ended with the bits of another, and has the same log."""
    return step_files(run_dir, 6) == step_files(whole, 6) and metrics(run_dir) == metrics(whole)


# --- F1, F15: killed at a step


@pytest.mark.parametrize("step", [1, 2, 3, 4, 5, 6])
def test_f1_killed_after_any_step(whole, run, tmp_path, step):
    assert forked(lambda: run(tmp_path / "a", also=At(step, die))) == -signal.SIGKILL
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


def test_f1_killed_again_and_again(whole, run, tmp_path):
    for step in (1, 3, 4, 5):
        assert forked(lambda step=step: run(tmp_path / "a", "resume=auto", also=At(step, die))) == -signal.SIGKILL
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


# --- F2, F3: asked to stop


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT, signal.SIGUSR2])
def test_f2_a_signal_leaves_a_checkpoint_and_code_85(whole, run, tmp_path, number):
    assert forked(lambda: run(tmp_path / "a", also=At(3, lambda: os.kill(os.getpid(), number)))) == 85
    assert resumption.newest(tmp_path / "a").name == "step_000003"
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


@pytest.mark.parametrize(("owner", "moment"), [(manifest, "seal"), (Validator, "losses")])
def test_f3_a_signal_while_saving_or_validating(whole, run, tmp_path, owner, moment):
    def job() -> None:
        actual = getattr(owner, moment)

        def interrupted(*args, **facts):
            os.kill(os.getpid(), signal.SIGTERM)
            return actual(*args, **facts)

        setattr(owner, moment, interrupted)  # The process ends with the job.
        run(tmp_path / "a")

    assert forked(job) == 85
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


# --- F4, F5, F6: killed while saving


def toy_bits(run_dir: Path, steps: int) -> list[dict[str, bytes]]:
    """The weights of an uninterrupted toy run after 0, 1, 2 ... steps."""
    run = Run(run_dir)
    bits = [run.bits]
    for _ in range(steps):
        run.train(1)
        bits.append(run.bits)
    return bits


def test_f5_killed_before_any_change_of_the_file_system(tmp_path):
    """Saves steps 1, 2 and 3 and keeps two: killed before change 1, 2, 3 ... of all, there is always a whole one."""
    bits = toy_bits(tmp_path / "reference", 4)
    code, number, seen = -signal.SIGKILL, 0, set()
    while code == -signal.SIGKILL:
        number += 1
        run_dir = tmp_path / str(number) / "run"

        def job(number: int = number, run_dir: Path = run_dir) -> None:
            run = Run(run_dir, saving_limit=2)
            at_change(number, run_dir, die)
            run.trained(1, 2, 3)

        code = forked(job)
        saved = sum(step.is_dir() for step in resumption.steps(run_dir)) if run_dir.exists() else 0
        resumed = Run(run_dir, resume="auto")
        assert resumed.checkpoints.restore(resumed.state) == (saved > 0)
        step = resumed.progress.step
        assert resumed.bits == bits[step]
        resumed.train(4 - step)
        assert resumed.bits == bits[4]
        resumed.save()
        assert names(run_dir)[0] != ".staged"
        seen.add(step)
    assert code == 0
    assert seen == {0, 1, 2, 3}
    assert number > 60


def test_f4_killed_in_the_middle_of_a_file(tmp_path):
    """The disk has half of a file when the process dies."""
    Run(tmp_path).trained(1)

    def job() -> None:
        run = Run(tmp_path, resume="auto")
        run.checkpoints.restore(run.state)
        resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        run.trained(2)

    assert forked(job) == -signal.SIGXFSZ
    assert any(name.startswith(".staged") for name in names(tmp_path))
    resumed = Run(tmp_path, resume="auto")
    assert resumed.checkpoints.restore(resumed.state)
    assert resumed.progress.step == 1
    assert names(tmp_path) == ["latest", "step_000001"]


# --- F7: damaged files


@pytest.mark.parametrize("harm", ["flip", "truncate", "delete"])
def test_f7_damage_is_found_and_the_checkpoint_before_it_taken(whole, run, tmp_path, harm, caplog):
    assert forked(lambda: run(tmp_path / "a", also=At(5, die))) == -signal.SIGKILL
    path = tmp_path / "a" / "checkpoints" / "step_000004" / "optimizer.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content[: -1 if harm == "truncate" else None])
    if harm == "delete":
        path.unlink()
    run(tmp_path / "a", "resume=auto")
    assert "step_000004 is damaged and left out" in caplog.text
    assert "optimizer.safetensors" in caplog.text
    assert same_end(tmp_path / "a", whole[0])


def test_f7_a_damaged_checkpoint_that_was_named_is_refused(run, tmp_path):
    run(tmp_path / "a", "training.max_train_steps=2")
    step = tmp_path / "a" / "checkpoints" / "step_000002"
    (step / "rng.json").write_text("{}")
    with pytest.raises(UserError, match=r"(?s)step_000002: damaged.*rng\.json"):
        run(tmp_path / "b", f"resume={step}")


# --- F8: no space


def test_f8_a_full_disk_leaves_the_earlier_checkpoints_and_says_so(whole, run, tmp_path, capfd):
    def job() -> None:
        limit = At(3, lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096)))
        run(tmp_path / "a", also=limit)

    assert forked(job) == 1
    assert re.search(
        r"UserError: .*step_000004 could not be saved: .*earlier checkpoints are as", capfd.readouterr().err
    )
    assert resumption.newest(tmp_path / "a").name == "step_000002"
    assert not list((tmp_path / "a" / "checkpoints").glob(".*"))
    run(tmp_path / "a", "resume=auto")
    assert same_end(tmp_path / "a", whole[0])


# --- F9, F10: one of two ranks


def launch(options: list[str], run_dir: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """The command line with two processes, at the same global batch as one process has."""
    shape = ["engine.num_processes=2", "engine.device=cpu", "training.per_device_train_batch_size=1"]
    words = [*options, *shape, f"hydra.run.dir={run_dir}", *overrides]
    path = {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}  # DeepSpeed looks for ninja.
    env = {**os.environ, **path, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT / "tests")}
    command = [sys.executable, str(ROOT / "launch.py"), *words]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    return subprocess.run(command, cwd=ROOT, env=env, timeout=300, check=False, **output)


def faulty(engine: str) -> list[str]:
    return ["engine=ddp", "+trusted_targets=[faulty_engines]", f"engine._target_=faulty_engines.{engine}"]


@pytest.mark.slow
def test_f9_a_rank_that_hangs_ends_the_run_in_time(options, tmp_path):
    ended = launch(options, tmp_path / "a", *faulty("Hanging"), "engine.timeout_seconds=10")
    assert ended.returncode == 1, ended.stdout
    assert status.read(tmp_path / "a").state == "failed"
    assert resumption.find("auto", tmp_path / "a") is None
    assert "imed out" in status.read(tmp_path / "a").reason


@pytest.mark.slow
def test_f10_nan_on_one_rank_stops_both_before_they_learn_it(options, tmp_path):
    ended = launch(options, tmp_path / "a", *faulty("Poisoned"))
    assert ended.returncode == 1, ended.stdout
    assert "step 2: loss or gradient is not finite" in ended.stdout
    assert json.loads((tmp_path / "a" / "anomalies.jsonl").read_text())["step"] == 2


# --- F14: another number of processes, another engine


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
    ended = launch(options, tmp_path / "a", f"engine={engine}", f"resume={step}")
    assert ended.returncode == 0, ended.stdout
    close(tmp_path / "a", whole[0])


# --- F15: killed late in a long mixture


def test_f15_killed_in_the_third_epoch_of_a_mixture(run, tmp_path):
    options = ("training.max_train_steps=null", "training.num_train_epochs=4", "peft.lora_dropout=0.1")
    run(tmp_path / "whole", *options)
    steps = int(metrics(tmp_path / "whole")[-1]["step"])
    late = next(int(m["step"]) for m in metrics(tmp_path / "whole") if m["epoch"] > 2.2)
    assert late < steps
    assert forked(lambda: run(tmp_path / "x" / "a", *options, also=At(late, die))) == -signal.SIGKILL
    run(tmp_path / "x" / "a", *options, "resume=auto")
    assert step_files(tmp_path / "x" / "a", steps) == step_files(tmp_path / "whole", steps)
    assert metrics(tmp_path / "x" / "a") == metrics(tmp_path / "whole")


# --- F18: malice


class Bomb:
    """Touches a file when it is unpickled."""

    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self):
        return Path.touch, (self.canary,)


def test_f18_no_pickle_in_a_checkpoint_is_ever_opened(run, tmp_path):
    run(tmp_path / "a", "training.max_train_steps=2")
    step = tmp_path / "a" / "checkpoints" / "step_000002"
    assert {p.suffix for p in step.iterdir()} <= {".json", ".safetensors", ".md"}
    payload = pickle.dumps(Bomb(tmp_path / "canary"))
    for name in ("optimizer.pt", "rng_state.pth", "pytorch_model.bin", "training_args.bin", "adapter_model.bin"):
        (step / name).write_bytes(payload)
    run(tmp_path / "b", f"resume={step}", "training.max_train_steps=4")
    assert not (tmp_path / "canary").exists()
    (step / "adapter_model.safetensors").unlink()
    with pytest.raises(UserError):
        run(tmp_path / "c", f"resume={step}")
    assert not (tmp_path / "canary").exists()
