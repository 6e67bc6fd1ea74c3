"""Runs are listed with what became of them, and only those that are named and confirmed are deleted."""

from __future__ import annotations

import builtins
from pathlib import Path

import pytest
from written_run import write_run, write_sweep

from mftcoder.core.errors import UserError
from mftcoder.verbs.runs import runs, size


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_run(tmp_path / "runs" / "mine" / "one")
    write_sweep(tmp_path / "runs" / "mine" / "sweep")
    return tmp_path


def test_all_runs_are_listed(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs([])
    out = capsys.readouterr().out
    assert out.count("completed") == 5
    assert "runs/mine/one" in out
    runs(["runs/mine/sweep"])
    assert capsys.readouterr().out.count("completed") == 4


def test_a_file_with_two_names_counts_once(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x" * 100)
    (tmp_path / "b").hardlink_to(tmp_path / "a")
    assert size(tmp_path) == 100


def test_what_is_named_and_confirmed_goes(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builtins, "input", lambda question: "no")
    runs(["clean", "runs/mine/one"])
    assert (place / "runs" / "mine" / "one").is_dir()
    monkeypatch.setattr(builtins, "input", lambda question: "yes")
    runs(["clean", "runs/mine/one"])
    assert not (place / "runs" / "mine" / "one").exists()
    assert (place / "runs" / "mine" / "sweep").is_dir()


def test_nothing_goes_without_a_name_or_an_answer(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(question: str) -> str:
        raise EOFError

    monkeypatch.setattr(builtins, "input", nobody)
    with pytest.raises(UserError, match="nobody answered; nothing was deleted"):
        runs(["clean", "runs/mine/one"])
    with pytest.raises(UserError, match="names nothing"):
        runs(["clean"])
    with pytest.raises(UserError, match="runs nowhere: no such directory"):
        runs(["clean", "nowhere"])
    with pytest.raises(UserError, match="no run is there"):
        runs([str(place / "runs" / "mine" / "one" / ".hydra")])
    assert (place / "runs" / "mine" / "one").is_dir()
