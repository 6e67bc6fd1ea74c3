"""Is anything ever lost? Runs are killed at random moments and resumed, and have to end as one that was left alone.

    python bench/faults.py [out.json] [kills] [seed]     200 kills: half of them while saving is asynchronous

A tiny model with LoRA, dropout and three tasks trains for STEPS steps with a checkpoint every INTERVAL. Each run is
forked from this process, which has imported everything, and gets SIGKILL after a time that is drawn uniformly from the
duration of a whole run; one that was faster is repeated. Then it is resumed with resume=auto. recovered: it ended.
equal: its last checkpoint (weights, optimizer, balancer, sampler, random generators, progress) and its log are those of
the run that was left alone, bit by bit. lost: steps that were logged before the kill and had to be repeated. in saving:
runs in whose directory the kill left a checkpoint half-written, or complete but not yet pointed to.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import random
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from mftcoder.cli import config
from mftcoder.storage import resumption

KILLS, STEPS, INTERVAL = 200, 24, 4
TASKS = {"add": 40, "double": 16, "say": 6}
MOODY = ("seconds/", "tokens_per_second", "supervised_tokens_per_second", "memory_bytes")
OPTIONS = (
    "model=tiny",
    "model.num_hidden_layers=2",
    "model.hidden_size=64",
    "peft.lora_dropout=0.1",
    "data=folders",
    "data.seq_length=64",
    "data.data_split=[80,20,0]",
    "tracker=[jsonl]",
    "balancer=coba",
    "optimizer.lr=0.01",
    f"training.max_train_steps={STEPS}",
    "training.gradient_accumulation_steps=2",
    "training.log_interval=1",
    f"training.evaluation_steps={2 * INTERVAL}",
    "training.early_stopping=false",
    "training.sample_generations=0",
    f"checkpoint.checkpointing_steps={INTERVAL}",
    "checkpoint.saving_limit=2",
)


def write_tasks(root: Path) -> list[str]:
    """Records of three little tasks; the options that name them."""
    answers = {"add": lambda n: str(n + 1), "double": lambda n: str(2 * n), "say": lambda n: "it " * (n % 4 + 1)}
    for task, size in TASKS.items():
        rounds = [
            [{"role": "human", "content": f"{task} {n}"}, {"role": "bot", "content": answers[task](n)}]
            for n in range(size)
        ]
        lines = [json.dumps({"id": n, "chat_rounds": chat}) for n, chat in enumerate(rounds)]
        (root / task).mkdir()
        (root / task / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    paths = ",".join(str(root / task) for task in TASKS)
    return [f"data.paths=[{paths}]", f"cache_dir={root / 'cache'}", f"model.directory={root / 'models'}"]


def start(tree: Mapping[str, Any], run_dir: Path) -> int:
    """Train in a forked process; its id."""
    run_dir.mkdir(parents=True, exist_ok=True)
    if (pid := os.fork()) > 0:
        return pid
    code = 1
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        train, parts = config.verb(tree)
        train(**parts, run_dir=run_dir, config=tree)
        code = 0
    except BaseException:
        traceback.print_exc()
    os._exit(code)


def finish(pid: int) -> int:
    """The exit code, minus the signal where there was one."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def killed(tree: Mapping[str, Any], run_dir: Path, rng: random.Random, duration: float) -> float:
    """Start a run and kill it at a random moment, again until the kill comes before its end; after what time."""
    while True:
        after = rng.uniform(0, duration)
        pid = start(tree, run_dir)
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if finish(pid) == -signal.SIGKILL:
            return after
        shutil.rmtree(run_dir)


def log_of(run_dir: Path) -> list[dict[str, float]]:
    """The whole lines of metrics.jsonl, without those that time decides."""
    path = run_dir / "metrics.jsonl"
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{name: value for name, value in line.items() if not name.startswith(MOODY)} for line in lines]


def end_of(run_dir: Path) -> tuple[dict[str, bytes], list[dict[str, float]]]:
    """What has to be equal: the last checkpoint, but for what names its run and time, and the log."""
    step = run_dir / resumption.STEPS / f"{resumption.STEP}{STEPS:06d}"
    named = ("manifest.json", "run.json", "README.md")
    return {p.name: p.read_bytes() for p in step.iterdir() if p.name not in named}, log_of(run_dir)


def in_saving(run_dir: Path) -> bool:
    """Whether a kill left a step that is not whole, or one that is whole but not yet the latest."""
    directory = run_dir / resumption.STEPS
    latest = directory / "latest"
    steps = resumption.steps(run_dir)
    pointed = latest.read_text(encoding="utf-8") if latest.exists() else None
    hidden = directory.exists() and any(p.name.startswith(".") for p in directory.iterdir())
    return hidden or (bool(steps) and steps[-1].name != pointed)


def inject(tree: Mapping[str, Any], run_dir: Path, rng: random.Random, duration: float, whole: Any) -> dict[str, Any]:
    """Kill a run once and resume it; what became of it."""
    after = killed(tree, run_dir, rng, duration)
    log, saving, saved = log_of(run_dir), in_saving(run_dir), resumption.newest(run_dir)
    reached = int(log[-1]["step"]) if log else 0
    kept = int(saved.name.removeprefix(resumption.STEP)) if saved else 0
    recovered = finish(start({**tree, "resume": "auto"}, run_dir)) == 0
    equal = recovered and end_of(run_dir) == whole
    if equal:
        shutil.rmtree(run_dir)
    return {
        "after": after,
        "in_saving": saving,
        "lost": max(0, reached - kept),
        "recovered": recovered,
        "equal": equal,
    }


def measure(root: Path, kills: int, rng: random.Random, asynchronous: bool) -> list[dict[str, Any]]:
    """So many kills in runs that save in one of the two ways."""
    tree = config.load(*OPTIONS, *write_tasks(root), f"checkpoint.asynchronous={asynchronous}")
    for name in ("first", "whole"):  # The first fills the cache.
        begun = time.perf_counter()
        if finish(start(tree, root / name / "run")) != 0:
            raise RuntimeError("the run that is left alone failed")
        duration = time.perf_counter() - begun
    whole = end_of(root / "whole" / "run")
    return [inject(tree, root / str(n) / "run", rng, duration, whole) for n in range(kills)]


def summary(found: list[dict[str, Any]]) -> dict[str, float]:
    """Counts of what happened, and the steps that had to be repeated."""
    counts = {name: sum(run[name] for run in found) for name in ("recovered", "equal", "in_saving")}
    lost = [run["lost"] for run in found]
    return {"injected": len(found), **counts, "lost_max": max(lost), "lost_mean": sum(lost) / len(lost)}


def main() -> None:
    kills = int(sys.argv[2]) if len(sys.argv) > 2 else KILLS
    rng = random.Random(int(sys.argv[3]) if len(sys.argv) > 3 else 0)
    torch.set_num_threads(1)
    found: dict[str, list[dict[str, Any]]] = {}
    for name, asynchronous, share in (("at once", False, kills - kills // 2), ("asynchronous", True, kills // 2)):
        with tempfile.TemporaryDirectory() as directory:
            found[name] = measure(Path(directory), share, rng, asynchronous)
    rows = {
        name: summary(runs) for name, runs in {**found, "both": [r for runs in found.values() for r in runs]}.items()
    }
    print(
        "| saving | faults injected | runs recovered | equal to the bit | killed in saving | steps lost: max | mean |"
    )
    print("|---|---|---|---|---|---|---|")
    for name, row in rows.items():
        counts = [str(row[key]) for key in ("injected", "recovered", "equal", "in_saving", "lost_max")]
        print(f"| {name} | {' | '.join(counts)} | {row['lost_mean']:.2f} |")
    if len(sys.argv) > 1:
        about = {"torch": torch.__version__, "python": platform.python_version(), "steps": STEPS, "interval": INTERVAL}
        Path(sys.argv[1]).write_text(json.dumps({**about, **rows, "runs": found}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
