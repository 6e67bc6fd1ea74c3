"""metrics.jsonl: what is written is read back to the bit, survives a crash, and holds no step twice."""

from __future__ import annotations

import json
import logging
import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mftcoder.tracker.jsonl import JsonLines


def started(run_dir: Path, *, fsync: bool = False) -> JsonLines:
    tracker = JsonLines(fsync=fsync)
    tracker.start(run_dir=run_dir, name="name", config={}, tasks=["code", "docs"], total_steps=9)
    return tracker


def lines(run_dir: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]


def write(run_dir: Path, *steps: int, resumed: int | None = None) -> None:
    tracker = started(run_dir)
    if resumed is not None:
        tracker.resume(resumed)
    for step in steps:
        tracker.log({"step": step, "train/loss": 1 / (step + 1)})
    tracker.finish()


@pytest.mark.parametrize("fsync", [False, True])
def test_numbers_come_back_to_the_bit_and_absent_tasks_stay_absent(tmp_path: Path, *, fsync: bool) -> None:
    metrics = {"step": 1, "train/loss": 0.1 + 0.2, "train/loss/code": math.pi / 1e9, "tokens": 2**53 - 1}
    tracker = started(tmp_path, fsync=fsync)
    tracker.log(metrics)
    tracker.finish()
    assert lines(tmp_path) == [metrics]
    assert type(lines(tmp_path)[0]["step"]) is int


def test_what_is_not_finite_is_null_so_that_every_line_is_json(tmp_path: Path) -> None:
    tracker = started(tmp_path)
    tracker.log({"step": 1, "grad_norm": math.inf, "train/loss": math.nan})
    tracker.finish()
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text == '{"step": 1, "grad_norm": null, "train/loss": null}\n'


def test_resuming_drops_the_later_lines_so_that_no_step_stands_twice(tmp_path: Path) -> None:
    write(tmp_path, *range(8))
    write(tmp_path, 5, 6, 7, 8, resumed=4)
    assert [line["step"] for line in lines(tmp_path)] == list(range(9))
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_resuming_in_a_new_directory_begins_a_file(tmp_path: Path) -> None:
    write(tmp_path, 5, resumed=4)
    assert [line["step"] for line in lines(tmp_path)] == [5]


def test_a_run_that_starts_anew_in_the_same_directory_starts_a_new_file(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    write(tmp_path, 0)
    assert [line["step"] for line in lines(tmp_path)] == [0]


def test_nothing_is_lost_before_it_is_known_whether_the_run_continues(tmp_path: Path) -> None:
    write(tmp_path, 0, 1)
    started(tmp_path).finish()
    assert [line["step"] for line in lines(tmp_path)] == [0, 1]


def test_a_line_that_a_crash_cut_short_is_dropped_and_one_that_is_broken_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1}\n\xff\x00garbage\n{"no": 1}\n{"step": 2}\n{"step": 3, "train/lo')
    with caplog.at_level(logging.WARNING):
        write(tmp_path, 3, resumed=3)
    assert [line["step"] for line in lines(tmp_path)] == [1, 2, 3]
    assert len(caplog.messages) == 2
    assert caplog.messages[0].startswith(f"{path}:2: not a line of metrics")


@pytest.mark.slow
def test_a_logged_line_outlives_a_process_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, signal
from pathlib import Path
from mftcoder.tracker.jsonl import JsonLines
tracker = JsonLines(fsync=False)
tracker.start(run_dir=Path({str(tmp_path)!r}), name="", config={{}}, tasks=[], total_steps=1)
tracker.log({{"step": 1, "train/loss": 0.5}})
os.kill(os.getpid(), signal.SIGKILL)
"""
    killed = subprocess.run([sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, check=False)
    assert killed.returncode == -9
    assert lines(tmp_path) == [{"step": 1, "train/loss": 0.5}]
