"""Locks: who holds them, and what their notes tell of owners that are gone."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path

import pytest
from crashes import forked

from mftcoder.system.lock import NOTE, Lock, LockedError


def attempt(path: Path) -> None:
    with pytest.raises(LockedError, match=f"process {os.getppid()} on {socket.gethostname()}, since "):
        Lock(path)


@pytest.mark.slow
def test_another_process_is_told_who_holds_it_until_it_is_released_as_often_as_taken(tmp_path: Path) -> None:
    first, again = Lock(tmp_path / "lock"), Lock(tmp_path / "lock")
    assert forked(lambda: attempt(tmp_path / "lock")) == 0
    again.release()
    assert forked(lambda: attempt(tmp_path / "lock")) == 0
    first.release()
    assert forked(lambda: Lock(tmp_path / "lock").release()) == 0


@pytest.mark.slow
def test_a_process_that_died_holds_nothing_and_leaves_no_warning_on_its_machine(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert forked(lambda: Lock(tmp_path / "lock") and os._exit(7)) == 7
    assert (tmp_path / f"lock{NOTE}").exists()
    Lock(tmp_path / "lock").release()
    assert not (tmp_path / f"lock{NOTE}").exists()
    assert caplog.text == ""


def test_a_note_of_another_machine_is_a_warning_and_a_damaged_one_is_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    note = tmp_path / f"lock{NOTE}"
    note.write_text(json.dumps({"process": 5, "host": "elsewhere", "since": "2020-01-01"}))
    Lock(tmp_path / "lock").release()
    assert "process 5 on elsewhere, since 2020-01-01, has not said that it ended" in caplog.text
    caplog.clear()
    note.write_text("{half")
    lock = Lock(tmp_path / "lock")
    assert caplog.text == ""
    assert lock.owner().startswith(f"process {os.getpid()} on ")
    lock.release()
