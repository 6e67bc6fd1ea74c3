"""The run directory: unique names, whole files, no secrets; and the status that all go by."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Timer

import pytest
from crashes import forked
from omegaconf import OmegaConf

from mftcoder.core.errors import UserError
from mftcoder.storage import run_directory, status
from mftcoder.storage.status import Status


def test_new_directories_are_never_shared(tmp_path: Path) -> None:
    wanted = str(tmp_path / "a" / "b")
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(run_directory.new_directory, [wanted] * 20))
    assert len(set(made)) == 20
    assert min(made, key=len) == wanted
    assert all(Path(directory).is_dir() for directory in made)


def test_a_directory_may_not_lead_upwards(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="may not lead upwards"):
        run_directory.new_directory(f"{tmp_path}/runs/../../elsewhere")


def test_the_hash_is_of_the_overrides_in_any_order() -> None:
    def hashed(*overrides: str) -> str:
        return run_directory.short_hash(OmegaConf.create(list(overrides)))

    assert re.fullmatch("[0-9a-f]{8}", hashed())
    assert hashed("a=1", "b=2") == hashed("b=2", "a=1") != hashed("a=1", "b=3")
    assert hashed("a=${b}") != hashed("a=${c}")


def test_only_a_directory_without_a_run_is_discarded(tmp_path: Path) -> None:
    empty, used = tmp_path / "empty", tmp_path / "used"
    for directory in (empty, used):
        (directory / ".hydra").mkdir(parents=True)
        (directory / ".hydra" / "config.yaml").touch()
        (used / "status.json").touch() if directory == used else None
        run_directory.discard(directory)
    assert not empty.exists()
    assert (used / ".hydra" / "config.yaml").exists()


def test_begin_writes_what_runs_without_its_secrets(tmp_path: Path) -> None:
    run_dir = tmp_path / "sweep" / "0-x"
    tree = {"lr": 1e-05, "text": "ü ${x}", "a": {"api_key": "s3cr3t", "eos_token": "</s>"}, "b": [{"token": "hf"}]}
    run_directory.begin(run_dir, tree, ["a.api_key=s3cr3t", "lr=1e-5"])
    assert run_directory.read_config(run_dir) == tree | {
        "a": {"api_key": "***", "eos_token": "</s>"},
        "b": [{"token": "***"}],
    }
    assert (run_dir / ".hydra" / "overrides.yaml").read_text() == "- a.api_key=***\n- lr=1e-5\n"
    assert status.read(run_dir) == Status(state="running")
    environment = json.loads((run_dir / "environment.json").read_text())
    assert {"argv", "git", "versions", "gpus", "host"} <= environment.keys()


def test_workers_take_no_settings_but_those_that_were_begun(tmp_path: Path) -> None:
    sha256 = run_directory.begin(tmp_path, {"mine": 1})
    assert run_directory.read_config(tmp_path, sha256) == {"mine": 1}
    (tmp_path / "config.yaml").write_text("mine: 2\n")
    with pytest.raises(UserError, match=r"config.yaml: was changed after the run had begun"):
        run_directory.read_config(tmp_path, sha256)


@pytest.mark.parametrize("text", ["[", "- 1", "a: !!python/object/apply:os.system [id]", "3", "\x00"])
def test_a_config_that_is_none_is_refused_in_words(tmp_path: Path, text: str) -> None:
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(UserError, match="is no configuration of a run"):
        run_directory.read_config(tmp_path)


def held(run_dir: Path, take: Callable[[Path], object] = run_directory.hold) -> int:
    """A process that holds the directory, until it is killed."""
    there, here = os.pipe()
    if (pid := os.fork()) == 0:
        kept = take(run_dir)  # noqa: F841 - a lock ends with its object
        os.write(here, b"!")
        signal.pause()
    assert os.read(there, 1) == b"!"
    os.close(there)
    os.close(here)
    return pid


def own(run_dir: Path) -> object:
    owner = run_directory.owned(run_dir)
    owner.__enter__()
    return owner


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def enter(run_dir: Path) -> None:
    with run_directory.owned(run_dir):
        run_directory.begin(run_dir, {"mine": 3})


def tree_of(run_dir: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(run_dir.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_second_start_writes_nothing_and_says_who_owns_the_directory_since_when(tmp_path: Path) -> None:
    run_directory.begin(tmp_path, {"mine": 1})
    pid = held(tmp_path, own)
    before = tree_of(tmp_path)
    named = rf"{tmp_path}: process {pid} on {socket.gethostname()}, since \d{{4}}-\d\d-\d\dT[\d:+]+, trains in it; wait"
    with pytest.raises(UserError, match=named):
        enter(tmp_path)
    assert tree_of(tmp_path) == before
    kill(pid)
    enter(tmp_path)
    assert run_directory.read_config(tmp_path) == {"mine": 3}


@pytest.mark.slow
def test_a_start_waits_for_the_workers_of_one_that_is_dead(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pid = held(tmp_path)
    monkeypatch.setattr(run_directory, "PREDECESSORS", 0.2)
    with pytest.raises(UserError, match=f"process {pid} on"):
        enter(tmp_path)
    assert not (tmp_path / "config.yaml").exists()
    monkeypatch.setattr(run_directory, "PREDECESSORS", 30)
    Timer(0.5, kill, [pid]).start()
    enter(tmp_path)


@pytest.mark.slow
def test_a_requeued_job_waits_for_its_dying_predecessor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pid = held(tmp_path, own)
    Timer(0.5, kill, [pid]).start()
    with run_directory.owned(tmp_path, patience=30):
        assert "waiting up to 30 s for the process that is ending in it" in caplog.text


@pytest.mark.slow
def test_the_process_that_holds_a_directory_may_take_it_again_and_give_it_up(tmp_path: Path) -> None:
    first, second = run_directory.hold(tmp_path), run_directory.hold(tmp_path)
    first.release()
    assert forked(lambda: run_directory.hold(tmp_path)) != 0
    second.release()
    assert forked(lambda: run_directory.hold(tmp_path)) == 0


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    run_directory.hold(tmp_path)
    assert f"{tmp_path / '.checkpoints.lock'}: this file system has no locks" in caplog.text


def test_an_owner_on_another_machine_that_has_not_said_it_ended_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = {"process": 7, "host": "node9", "since": "2026-01-01T00:00:00+00:00"}
    (tmp_path / ".lock.owner").write_text(json.dumps(note))
    with run_directory.owned(tmp_path):
        assert "process 7 on node9, since 2026-01-01T00:00:00+00:00, has not said that it ended" in caplog.text
    assert not (tmp_path / ".lock.owner").exists()


def test_a_status_changes_in_part(tmp_path: Path) -> None:
    assert status.read(tmp_path) is None
    status.update(tmp_path, step=3)
    status.update(tmp_path, state="completed", metric=0.5)
    assert status.read(tmp_path) == Status(state="completed", step=3, metric=0.5)


def test_the_first_failure_stays(tmp_path: Path) -> None:
    status.update(tmp_path, step=3)
    status.fail(tmp_path, reason="the cause", rank=1)
    status.fail(tmp_path, reason="a consequence", rank=0)
    assert status.read(tmp_path) == Status(state="failed", step=3, reason="the cause", rank=1)


def test_a_run_that_begins_again_is_running(tmp_path: Path) -> None:
    status.update(tmp_path, step=3)
    status.fail(tmp_path, reason="the cause", rank=1)
    run_directory.begin(tmp_path, {})
    assert status.read(tmp_path) == Status(state="running", step=3)


def used(run_dir: Path) -> Path:
    step = run_dir / "checkpoints" / "step_000006"
    step.mkdir(parents=True)
    (step / "weights").write_text("of the earlier run")
    status.update(run_dir, state="completed", step=6, metric=0.5)
    return run_dir


def test_no_run_begins_anew_among_the_steps_of_another(tmp_path: Path) -> None:
    run_dir = used(tmp_path / "a")
    with pytest.raises(UserError, match="a run has left its steps there; resume=auto goes on from them"):
        run_directory.begin(run_dir, {"resume": "none"})
    assert status.read(run_dir) == Status(state="completed", step=6, metric=0.5)
    assert not (run_dir / "config.yaml").exists()
    run_directory.begin(run_dir, {"resume": "auto"})
    assert (run_dir / "checkpoints" / "step_000006").is_dir()


def test_a_job_of_a_sweep_begins_anew_and_sets_its_steps_aside(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "multirun.yaml").touch()
    for number in (1, 2):
        run_dir = used(tmp_path / "0-aa")
        run_directory.begin(run_dir, {"resume": "none"})
        assert not (run_dir / "checkpoints").exists()
        assert (run_dir / f"checkpoints.{number}" / "step_000006" / "weights").is_file()
    assert "the steps that it had are in checkpoints.2" in caplog.text


def test_a_place_to_go_on_from_that_is_none_is_seen_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="resume=yes: no such run or step; give the path of one, or none, auto, latest"):
        run_directory.begin(tmp_path / "a", {"resume": "yes"})
    assert not (tmp_path / "a" / "config.yaml").exists()
    run_directory.discard(tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_on_a_full_disk_the_status_is_true_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status.update(tmp_path, step=3)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("mftcoder.system.files._publish", full)
    status.fail(tmp_path, reason="the disk is full", rank=0)
    assert status.read(tmp_path) == Status(state="failed", step=3, reason="the disk is full", rank=0)
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]
