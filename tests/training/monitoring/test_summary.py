"""What is printed once a run is over."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from mftcoder.core.progress import Progress
from mftcoder.training.monitoring import summary


def test_losses_and_the_first_answered_prompt_of_each_task_are_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of prompts that were answered twice; a line that a crash has cut short is left out."""
    words = {"reference": "r", "task": "add"}
    asked = [
        *({**words, "prompt": f"question {p}", "step": s, "answer": f"answer {p} {s}"} for s in (0, 6) for p in (1, 2)),
        {**words, "task": "[red]say", "prompt": "once", "step": 0, "answer": "alone"},
    ]
    text = "".join(json.dumps(line) + "\n" for line in asked) + '{"step": 6, "pro'
    (tmp_path / "samples.jsonl").write_text(text)
    summary.show(Progress(validations=[(0, {"[red]say": 2.0}), (6, {"[red]say": 1.5})]), tmp_path)
    printed = capsys.readouterr().out
    assert all(word in printed for word in ("question 1", "answer 1 0", "answer 1 6", "[red]say", "-0.5000"))
    assert not any(word in printed for word in ("question 2", "once", "alone"))
    assert f"Everything is in {tmp_path}" in printed.replace("\n", "")


def test_the_first_losses_are_headed_with_their_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With training.evaluate_first=false they are not those of the untrained model."""
    summary.show(Progress(validations=[(10, {"add": 2.0}), (20, {"add": 1.5}), (30, {"add": 1.75})]), tmp_path)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["task", "step", "10", "best", "at", "step", "change"] in rows
    assert ["add", "2.0000", "1.5000", "20", "-0.5000"] in rows
