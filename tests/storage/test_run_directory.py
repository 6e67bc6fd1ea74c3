"""The run directory: unique names, whole files, no secrets; and the status that all go by."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from crashes import forked
from omegaconf import OmegaConf

from mftcoder.cli import secrets
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
    (run_dir / ".hydra").mkdir(parents=True)
    (run_dir / ".hydra" / "overrides.yaml").write_text("- a.api_key=s3cr3t\n")
    (run_dir.parent / "multirun.yaml").write_text("x: s3cr3t\n")
    tree = {"lr": 1e-05, "text": "ü ${x}", "a": {"api_key": "s3cr3t", "eos_token": "</s>"}, "b": [{"token": "hf"}]}
    run_directory.begin(run_dir, tree)
    assert run_directory.read_config(run_dir) == tree | {
        "a": {"api_key": "***", "eos_token": "</s>"},
        "b": [{"token": "***"}],
    }
    assert (run_dir / ".hydra" / "overrides.yaml").read_text() == "- a.api_key=***\n"
    assert (run_dir.parent / "multirun.yaml").read_text() == "x: ***\n"
    assert status.read(run_dir) == Status(state="running")
    environment = json.loads((run_dir / "environment.json").read_text())
    assert {"argv", "git", "versions", "gpus", "host"} <= environment.keys()


def held(run_dir: Path) -> int:
    """A process that holds the directory, until it is killed."""
    there, here = os.pipe()
    if (pid := os.fork()) == 0:
        run_directory.hold(run_dir)
        os.write(here, b"!")
        signal.pause()
    assert os.read(there, 1) == b"!"
    os.close(there)
    os.close(here)
    return pid


def test_no_run_begins_where_another_process_trains_until_that_is_dead(tmp_path: Path) -> None:
    run_directory.begin(tmp_path, {"mine": 1})
    pid = held(tmp_path)
    for attempt in (run_directory.hold, lambda run_dir: run_directory.begin(run_dir, {"mine": 2})):
        with pytest.raises(UserError, match=re.escape(f"{tmp_path}: process {pid} on {socket.gethostname()} trains")):
            attempt(tmp_path)
    assert run_directory.read_config(tmp_path) == {"mine": 1}
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    run_directory.begin(tmp_path, {"mine": 3})
    assert run_directory.read_config(tmp_path) == {"mine": 3}


def test_the_process_that_holds_a_directory_may_take_it_again_and_give_it_up(tmp_path: Path) -> None:
    first, second = run_directory.hold(tmp_path), run_directory.hold(tmp_path)
    os.close(first)
    os.close(second)
    assert forked(lambda: run_directory.hold(tmp_path)) == 0


def test_a_file_system_without_locks_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.lockf", refuse)
    os.close(run_directory.hold(tmp_path))
    assert f"{tmp_path}: this file system has no locks" in caplog.text


@pytest.mark.parametrize(
    "key", ["api_key", "apikey", "wandb_api_key", "token", "HF_TOKEN", "hub_token", "password", "client_secret"]
)
def test_secret_names(key: str) -> None:
    tree = {"a": [{key: "x"}]}
    assert secrets.masked(tree) == {"a": [{key: "***"}]}
    assert secrets.restored(secrets.masked(tree), secrets.find(tree)) == tree


@pytest.mark.parametrize("key", ["eos_token", "pad_token", "max_new_tokens", "tokens", "key", "tokenizer", "secretary"])
def test_names_that_are_no_secrets(key: str) -> None:
    assert secrets.masked({key: "x"}) == {key: "x"}


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
