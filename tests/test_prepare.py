"""The verb prepare on two small tasks: the audit it writes and prints, what it refuses, what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mftcoder import config
from mftcoder.core.errors import UserError
from mftcoder.prepare import bars


@pytest.fixture
def tasks(tmp_path: Path) -> Path:
    for task, size in (("code", 20), ("talk", 5)):
        (tmp_path / task).mkdir()
        rounds = [
            [{"role": "human", "content": f"{task} {n}?"}, {"role": "bot", "content": f"{n}!"}] for n in range(size)
        ]
        rounds.append(rounds[0])
        lines = [json.dumps({"chat_rounds": each}) for each in rounds]
        (tmp_path / task / "train.jsonl").write_text("\n".join(lines) + "\n")
        (tmp_path / task / "valid.jsonl").write_text(lines[0] + "\n")
    return tmp_path


def prepare(tasks: Path, *overrides: str) -> Path:
    """Run the verb as the command line would; returns its directory."""
    run_dir = tasks / "run"
    run_dir.mkdir(exist_ok=True)
    paths = f"data.paths=[{tasks}/code,{tasks}/talk]"
    tree = config.load("data=folders", paths, f"cache_dir={tasks}/cache", *overrides, config_name="prepare")
    function, arguments = config.verb(tree)
    function(**arguments, run_dir=run_dir)
    return run_dir


def test_every_task_is_tokenised_and_audited(tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audit = json.loads((prepare(tasks) / "audit.json").read_text())
    assert list(audit) == ["code", "talk"]
    assert audit["code"]["records"]["read"] == audit["code"]["records"]["used"] == 22
    assert [audit["talk"][split]["samples"] for split in ("train", "valid", "test")] == [6, 1, 0]
    assert audit["talk"]["duplicates"]["exact"] == {"within": 1, "across": 0, "leaked": 1}
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("records", "samples", "code", "talk", "leaked"))


def test_what_the_audit_refuses_is_written_before(tasks: Path) -> None:
    with pytest.raises(UserError, match="talk: 1 of 1 held-out samples are in training data"):
        prepare(tasks, "audit.max_leaked_fraction=0", "audit.near_duplicates=null")
    audit = json.loads((tasks / "run" / "audit.json").read_text())
    assert list(audit["code"]["duplicates"]) == ["exact"]


def test_dialogues_are_shown(tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = prepare(tasks, "show=2")
    printed = capsys.readouterr().out
    assert printed.count("@2 assistant:<s>bot⏎\n⟦") == 4
    assert "code·0?⏎" in printed
    assert "⟦1!⏎\n<|eos|>⟧⏎" in printed
    assert not (run_dir / "audit.json").exists()
    assert not (tasks / "cache").exists()


def test_a_histogram_in_a_line() -> None:
    assert bars({"4": 1, "16": 8, "32": 3}) == "4 ▁ █▃"
    assert bars({}) == ""
