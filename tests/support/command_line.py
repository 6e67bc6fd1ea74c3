"""The command line of a toy verb, started as users start it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


LAUNCH = str(ROOT / "launch.py")


TOY = """\
# Do a little of everything.
_target_: toy_verbs.toy
trusted_targets: [toy_verbs]
defaults: [engine: none, hydra: default, _self_, sweep: null]
name: toy
value: 1.5
action: return
rank: 0
service: {}
"""


NONE = "# @package _global_\nengine: null\n"


SWEEP = "# @package _global_\nhydra: {mode: MULTIRUN, sweeper: {params: {value: '1,2'}}}\n"


MANY = "_target_: toy_verbs.Processes\nnum_processes: 2\nnum_nodes: 1\nrendezvous: null\n"


def start(*words: str, before: tuple[str, ...] = (sys.executable,), **env: str) -> subprocess.Popen[str]:
    command = [*before, LAUNCH, f"--config-path={Path.cwd() / 'conf'}", "toy", *words]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, env={**os.environ, **env})


def finish(process: subprocess.Popen[str], timeout: float = 60) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=timeout)
    return process.returncode, out, err


def run(*words: str, before: tuple[str, ...] = (sys.executable,), **env: str) -> tuple[int, str, str]:
    return finish(start(*words, before=before, **env))


def runs(pattern: str = "*") -> list[Path]:
    return sorted(Path("runs/toy").glob(pattern))


def status(run_dir: Path) -> dict[str, object]:
    return dict(json.loads((run_dir / "status.json").read_text()))


def facts(run_dir: Path, rank: int = 0) -> dict[str, object]:
    return dict(json.loads((run_dir / f"facts{rank}.json").read_text()))


def wait_for(*files: Path, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not all(file.exists() for file in files):
        assert time.monotonic() < end, files
        time.sleep(0.05)
