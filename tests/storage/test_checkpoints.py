import json
import os
import shutil
import signal
import threading
from errno import ENOSPC
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from run_files import names
from safetensors.torch import load_file
from torch import nn
from toy_training import Run

from mftcoder.core.errors import UserError
from mftcoder.core.progress import Progress
from mftcoder.engine.single import Single
from mftcoder.system import manifest


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_resumed_run_equals_the_uninterrupted_one_to_the_bit(tmp_path: Path, asynchronous: bool) -> None:
    whole = Run(tmp_path / "runs" / "a", asynchronous=asynchronous)
    whole.trained(3).train(4)
    whole.checkpoints.finish()
    resumed = Run(tmp_path / "runs" / "b", resume="latest")
    assert resumed.checkpoints.restore(resumed.state)
    assert resumed.progress.step == 3
    resumed.train(4)
    assert resumed.bits == whole.bits


def test_the_layout(tmp_path: Path) -> None:
    Run(tmp_path).trained(2)
    assert names(tmp_path) == ["latest", "step_000002"]
    assert (tmp_path / "checkpoints" / "latest").read_text() == "step_000002"
    step = tmp_path / "checkpoints" / "step_000002"
    parts = ["optimizer.json", "optimizer.safetensors", "progress.json", "rng.json", "rng.safetensors"]
    assert sorted(p.name for p in step.iterdir()) == ["manifest.json", "model.safetensors", *parts, "run.json"]
    content = manifest.read(step)
    assert (content["step"], content["metrics"]) == (2, {"valid/loss": 0.5})
    assert content["versions"]["torch"] == version("torch")


@pytest.mark.parametrize("part", ["model.safetensors", "optimizer.safetensors", "run.json", "manifest.json"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_taken(
    tmp_path: Path, part: str, caplog: pytest.LogCaptureFixture
) -> None:
    Run(tmp_path).trained(1, 2)
    path = tmp_path / "checkpoints" / "step_000002" / part
    content = bytearray(path.read_bytes())
    content[-2] ^= 4
    path.write_bytes(content)
    resumed = Run(tmp_path, resume="auto")
    assert resumed.checkpoints.restore(resumed.state)
    assert resumed.progress.step == 1
    assert "step_000002 is damaged" in caplog.text
    assert part in caplog.text


@pytest.mark.parametrize(
    ("limit", "best", "kept"),
    [
        (None, None, [1, 2, 3, 4]),
        (3, None, [2, 3, 4]),
        (2, 1, [1, 4]),
        (2, 4, [3, 4]),
        (3, 2, [2, 3, 4]),
        (1, 2, [2, 4]),
        (1, 4, [4]),
    ],
)
def test_pruning_keeps_the_newest_and_the_best(
    tmp_path: Path, limit: int | None, best: int | None, kept: list[int]
) -> None:
    run = Run(tmp_path, saving_limit=limit)
    for step in (1, 2, 3, 4):
        if best is not None:
            run.progress.validations.append((step, {"task": abs(best - step)}))
        run.trained(step)
    steps = [name for name in names(tmp_path) if name.startswith("step")]
    assert steps == [f"step_{step:06d}" for step in kept]


def test_best_resumes_the_best_even_after_later_steps(tmp_path: Path) -> None:
    run = Run(tmp_path / "a")
    run.trained(1)
    run.progress.validations.append((2, {"task": 1.0}))
    run.trained(2, 3)
    best = Run(tmp_path / "b", resume="best")
    assert best.checkpoints.restore(best.state)
    assert best.progress.step == 2
    best.train(3)  # b saves nothing better than what it began with, so its best is still that of a
    best.save()
    again = Run(
        tmp_path / "c", resume=str(tmp_path / "b" / "checkpoints" / (tmp_path / "b/checkpoints/best").read_text())
    )
    assert again.checkpoints.restore(again.state)
    assert again.progress.step == 2


@pytest.mark.parametrize("limit", [1, None])
@pytest.mark.parametrize("keep", ["best", "best_by_task", "pareto"])
def test_pointers_name_the_best_steps_that_are_kept_and_none_dangles(
    tmp_path: Path, keep: str, limit: int | None
) -> None:
    run = Run(tmp_path, saving_limit=limit, keep=keep, checkpointing_steps=None)
    pointers = {}
    for step, a, b in ((1, 1.0, 3.0), (2, 2.0, 1.0), (3, 3.0, 2.0)):
        run.progress.validations.append((step, {"a": a, "b": b}))
        run.trained(step)
        paths = (tmp_path / "checkpoints").glob("best*")
        pointers = {path.name: path.read_text() for path in paths}
        assert all((tmp_path / "checkpoints" / name).is_dir() for name in pointers.values())
    by_task = {} if keep == "best" else {"best-a": "step_000001"}
    assert pointers == {"best": "step_000002", "best-b": "step_000002", **by_task}


def test_a_pointer_to_what_is_not_the_best_any_more_is_set_right(tmp_path: Path) -> None:
    run = Run(tmp_path)
    for step, loss in ((1, 2.0), (2, 1.0)):
        run.progress.validations.append((step, {"a": loss}))
        run.trained(step)
    again = Run(tmp_path, resume=str(tmp_path / "checkpoints" / "step_000001"))
    assert again.checkpoints.restore(again.state)
    again.progress.validations.append((3, {"a": 3.0}))
    again.trained(3)
    assert (tmp_path / "checkpoints" / "best").read_text() == "step_000001"
    other = Run(tmp_path / "b", resume=str(tmp_path / "checkpoints" / "step_000002"))
    assert other.checkpoints.restore(other.state)
    other.trained(4)
    assert not (tmp_path / "b" / "checkpoints" / "best").exists()


def test_due_at_every_interval_and_at_every_new_best(tmp_path: Path) -> None:
    checkpoints = Run(tmp_path, checkpointing_steps=10).checkpoints
    assert checkpoints.due(Progress(step=20), total_steps=200)
    validations = [(20, {"task": 2.0}), (21, {"task": 3.0})]
    assert not checkpoints.due(Progress(step=21, validations=validations), total_steps=200)
    assert checkpoints.due(Progress(step=22, validations=[*validations, (22, {"task": 1.0})]), total_steps=200)
    fraction = Run(tmp_path / "b", checkpointing_steps=0.05).checkpoints
    assert [step for step in range(1, 31) if fraction.due(Progress(step=step), total_steps=200)] == [10, 20, 30]


def test_a_save_that_fails_leaves_everything_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path).trained(1)
    before, bits = names(tmp_path), run.bits
    run.train(0)

    def full(*_: object, **__: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    monkeypatch.setattr("mftcoder.system.files._publish", full)
    with pytest.raises(UserError, match=r"No space left on device.*earlier checkpoints are as they were"):
        run.save()
    assert names(tmp_path) == before
    assert run.bits == bits
    monkeypatch.undo()
    run.trained(2)
    assert names(tmp_path) == ["latest", "step_000001", "step_000002"]


def test_too_little_space_is_seen_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(100, 90, 10))
    with pytest.raises(UserError, match="0 MB are free"):
        run.save()
    assert names(tmp_path) == []


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_full_disk_skips_the_checkpoint_where_that_is_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, asynchronous: bool
) -> None:
    run = Run(tmp_path, asynchronous=asynchronous, on_full="skip").trained(1)
    run.checkpoints.finish() if asynchronous else None

    def full(*_: object, **__: object) -> None:
        raise OSError(ENOSPC, "No space left on device")

    run = Run(tmp_path, resume="auto", asynchronous=asynchronous, on_full="skip")
    with monkeypatch.context() as patch:
        patch.setattr("mftcoder.system.files._publish", full)
        run.trained(2)
        run.checkpoints._wait()
    assert "step_000002 could not be saved" in caplog.text
    assert "the run goes on without it (checkpoint.on_full=skip)" in caplog.text
    assert names(tmp_path) == ["latest", "step_000001"]
    run.trained(3)
    run.checkpoints.finish()
    assert names(tmp_path) == ["latest", "step_000001", "step_000003"]


def test_a_failed_asynchronous_save_is_raised_at_the_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, asynchronous=True)
    monkeypatch.setattr("mftcoder.system.files._publish", lambda *_, **__: 1 / 0)
    run.save()
    with pytest.raises(ZeroDivisionError):
        run.save()


def test_asynchronous_saving_writes_the_state_of_its_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tmp_path, asynchronous=True)
    go_on, publish = threading.Event(), manifest.seal

    def wait(*args: Any, **facts: Any) -> None:
        go_on.wait()
        publish(*args, **facts)

    monkeypatch.setattr("mftcoder.system.manifest.seal", wait)
    run.train(1)
    bits = run.bits
    run.save()
    run.train(3)
    assert "latest" not in names(tmp_path)
    go_on.set()
    run.checkpoints.finish()
    resumed = Run(tmp_path, resume="auto")
    assert resumed.checkpoints.restore(resumed.state)
    assert (resumed.progress.step, resumed.bits) == (1, bits)


def test_what_a_crash_left_half_written_is_cleared_and_never_chosen(tmp_path: Path) -> None:
    Run(tmp_path).trained(1)
    directory = tmp_path / "checkpoints"
    shutil.copytree(directory / "step_000001", directory / ".staged-step_000002-0")
    shutil.copytree(directory / "step_000001", directory / "step_000003")
    (directory / "step_000003" / "manifest.json").unlink()
    resumed = Run(tmp_path, resume="auto")
    assert names(tmp_path) == ["latest", "step_000001", "step_000003"]
    assert resumed.checkpoints.restore(resumed.state)
    assert resumed.progress.step == 1
    resumed.trained(3)
    assert manifest.faults(directory / "step_000003") == []


def stuck_in_saving(run_dir: Path) -> int:
    """A process that has written half of a checkpoint, and stays there."""
    there, here = os.pipe()

    def stay(*_: object, **__: object) -> None:
        os.write(here, b"!")
        signal.pause()

    if (pid := os.fork()) == 0:
        manifest.seal = stay
        Run(run_dir).save()
    assert os.read(there, 1) == b"!"
    os.close(there)
    os.close(here)
    return pid


@pytest.mark.slow
def test_what_a_living_run_is_writing_is_not_cleared_away(tmp_path: Path) -> None:
    pid = stuck_in_saving(tmp_path)
    try:
        with pytest.raises(UserError, match=rf"hydra.run.dir={tmp_path}: process {pid} on .* trains in it"):
            Run(tmp_path)
        assert [name[:19] for name in names(tmp_path)] == [".staged-step_000000"]
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    Run(tmp_path).save()
    assert names(tmp_path) == ["latest", "step_000000"]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    Run(tmp_path).trained(1, 2)
    resumed = Run(tmp_path, resume=str(tmp_path / "checkpoints" / "step_000001"))
    resumed.checkpoints.restore(resumed.state)
    torch.manual_seed(99)
    resumed.trained(2)
    assert manifest.faults(tmp_path / "checkpoints" / "step_000002") == []
    weights = load_file(tmp_path / "checkpoints" / "step_000002" / "model.safetensors")
    assert {name: t.numpy().tobytes() for name, t in weights.items()} == resumed.bits


def test_auto_refuses_another_configuration_and_names_the_keys(tmp_path: Path) -> None:
    Run(tmp_path / "a", {"model": {"path": "x"}, "optimizer": {"lr": 1}, "engine": {"n": 1}}).trained(1)
    config = {"model": {"path": "y"}, "optimizer": {"lr": 1}, "engine": {"n": 2}}
    refused = Run(tmp_path / "b", config, resume="auto")
    with pytest.raises(UserError, match=r"model.path: 'x' there, 'y' here\nresume_force=true"):
        refused.checkpoints.restore(refused.state)
    forced = Run(tmp_path / "c", config, resume="auto", resume_force=True)
    assert forced.checkpoints.restore(forced.state)
    named = Run(tmp_path / "d", config, resume=str(tmp_path / "a"))
    assert named.checkpoints.restore(named.state)


FACTS = {"packs_per_step": 8, "gradient_accumulation_steps": 2, "data": {"add": "a", "say": "b"}}


def test_auto_refuses_another_global_batch_and_says_how_to_keep_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    Run(tmp_path / "a", facts=FACTS).trained(1)
    facts = {**FACTS, "packs_per_step": 4, "gradient_accumulation_steps": 1}
    refused = Run(tmp_path / "b", facts=facts, resume="auto")
    with pytest.raises(UserError, match=r"8 there, 4 here; training.gradient_accumulation_steps=2 keeps it\nresume_"):
        refused.checkpoints.restore(refused.state)
    for resume, force in (("auto", True), ("latest", False)):
        caplog.clear()
        other = Run(tmp_path / resume, facts=facts, resume=resume, resume_force=force)
        assert other.checkpoints.restore(other.state)
        assert "8 there, 4 here" in caplog.text


@pytest.mark.parametrize("resume", ["auto", "latest", "path"])
def test_other_data_are_refused_and_only_force_goes_on(tmp_path: Path, resume: str) -> None:
    Run(tmp_path / "a", facts=FACTS).trained(1)
    resume = str(tmp_path / "a") if resume == "path" else resume
    facts = {**FACTS, "data": {"add": "a", "say": "changed"}}
    refused = Run(tmp_path / "b", facts=facts, resume=resume)
    with pytest.raises(UserError, match=r"differs:\ntask say: not the same data as there\nresume_force=true"):
        refused.checkpoints.restore(refused.state)
    forced = Run(tmp_path / "c", facts=facts, resume=resume, resume_force=True)
    assert forced.checkpoints.restore(forced.state)


def test_a_checkpoint_that_says_nothing_of_batch_and_data_resumes(tmp_path: Path) -> None:
    Run(tmp_path / "a").trained(1)
    resumed = Run(tmp_path / "b", facts=FACTS, resume="auto")
    assert resumed.checkpoints.restore(resumed.state)


def test_a_foreign_directory_beside_the_steps_neither_hinders_nor_is_deleted(tmp_path: Path) -> None:
    run = Run(tmp_path, saving_limit=1).trained(1)
    shutil.copytree(tmp_path / "checkpoints" / "step_000001", tmp_path / "checkpoints" / "step_000001-backup")
    run.trained(2, 3)
    assert names(tmp_path) == ["latest", "step_000001-backup", "step_000003"]


def test_weights_of_another_model_are_refused_with_their_names(tmp_path: Path) -> None:
    Run(tmp_path).trained(1)
    other = Run(tmp_path, resume="auto")
    model = nn.Sequential(nn.Linear(4, 9), nn.Dropout(0.5), nn.Linear(9, 1, bias=False))
    other.engine.prepare(model, lambda m: torch.optim.AdamW(m.parameters(), lr=0.1))
    with pytest.raises(UserError, match=r"(?s)step_000001 does not fit.*0.weight: shape \[8, 4\] instead of \[9, 4\]"):
        other.checkpoints.restore(other.state)


def test_another_rank_fails_with_rank_zero(tmp_path: Path) -> None:
    class Follower(Single):
        rank = 1

        def share(self, value: Any) -> Any:
            return None, "rank 0 found the disk full"

    run = Run(tmp_path)
    run.engine.__class__ = Follower
    with pytest.raises(UserError, match="rank 0 found the disk full"):
        run.save()
    assert names(tmp_path) == []


def test_the_configuration_is_saved_beside_the_weights(tmp_path: Path) -> None:
    Run(tmp_path, {"seed": 3}).trained(1)
    assert json.loads((tmp_path / "checkpoints/step_000001/run.json").read_text()) == {"seed": 3}
