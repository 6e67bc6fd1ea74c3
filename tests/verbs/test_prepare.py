"""The verb prepare on two small tasks: the audit it writes and prints, what it refuses, what it shows."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mftcoder.cli import config
from mftcoder.core.errors import UserError
from mftcoder.verbs.prepare import bars


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
    assert all(word in printed for word in ("records", "samples", "code", "talk", "leaked: held out"))
    assert "1 steps an epoch, of packs_per_step=8 packs" in printed
    assert max(len(line.rstrip()) for line in printed.splitlines()) <= 80


def test_what_the_audit_refuses_is_written_before(tasks: Path) -> None:
    with pytest.raises(UserError, match="talk: 1 of 1 held-out samples are in training data"):
        prepare(tasks, "audit.max_leaked_fraction=0", "audit.near_duplicates=null")
    audit = json.loads((tasks / "run" / "audit.json").read_text())
    assert list(audit["code"]["duplicates"]) == ["exact"]


def test_what_cannot_be_used_is_kept_with_its_place(tasks: Path) -> None:
    with (tasks / "talk" / "train.jsonl").open("a") as file:
        file.write("nonsense\n")
    with pytest.raises(UserError, match=r"1 of 8 records cannot be used(.|\n)*train\.jsonl:7: not JSON"):
        prepare(tasks)
    run_dir = prepare(tasks, "data.max_quarantined_fraction=0.2")
    (line,) = (run_dir / "quarantine.jsonl").read_text().splitlines()
    reason = "not JSON (Expecting value at column 1); expected one JSON object a line"
    place = f"{tasks}/talk/train.jsonl:7"
    assert json.loads(line) == {"task": "talk", "origin": place, "reason": reason, "text": "nonsense"}
    assert json.loads((run_dir / "audit.json").read_text())["talk"]["records"]["malformed"] == 1


def test_a_task_with_nothing_to_learn_is_refused(tasks: Path) -> None:
    question = json.dumps({"chat_rounds": [{"role": "human", "content": "?"}]}) + "\n"
    for name in ("train", "valid"):
        (tasks / "talk" / f"{name}.jsonl").write_text(question)
    with pytest.raises(UserError, match=r"task talk: nothing to learn is left of its records \(2 read.*2 empty"):
        prepare(tasks)


def test_dialogues_are_shown(tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_dir = prepare(tasks, "show=2")
    printed = capsys.readouterr().out
    assert printed.count("@2 assistant:<s>assistant⏎\n⟦") == 4
    assert "code·0?⏎" in printed
    assert "⟦1!<|eos|>⟧⏎" in printed
    assert not (run_dir / "audit.json").exists()
    assert not (tasks / "cache").exists()


def test_a_histogram_in_a_line() -> None:
    assert bars({"4": 1, "16": 8, "32": 3}) == "4 ▁ █▃"
    assert bars({}) == ""


def test_escapes_are_shown_and_not_sent(tasks: Path, capsys: pytest.CaptureFixture[str]) -> None:
    escape = "\x1b]0;title\x07\x1b[31m\x9b1m"
    rounds = [{"role": "human", "content": escape}, {"role": "bot", "content": "a" + escape}]
    (tasks / "code" / "train.jsonl").write_text(json.dumps({"chat_rounds": rounds}) + "\n")
    prepare(tasks, "show=1")
    printed = capsys.readouterr().out
    assert "]0;title" in printed.replace("⏎\n", "")
    assert not {"\x1b", "\x07", "\x9b"} & set(printed)
