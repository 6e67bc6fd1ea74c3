"""Whether a change of the code changed any number: six tiny runs, and what is left of them on disk, compared by hash.

    python bench/same_bits.py /tmp/before                    # trains with the checkout that it lies in
    python bench/same_bits.py /tmp/after --against /tmp/before

One run for each of single, ddp, zero2 and fsdp2 (two processes on the CPU), and one with CoBa and one with PCGrad.
Compared are metrics.jsonl, but for times and memory, and every file of every checkpoint that holds weights or state.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SIZES = {"add": 40, "double": 16, "say": 6}
OPTIONS = (
    *(
        "model=tiny",
        "model.num_hidden_layers=2",
        "model.hidden_size=64",
        "data=folders",
        "template=codefuse",
        "data.seq_length=64",
    ),
    *("tracker=[jsonl]", "optimizer.lr=0.01", "training.max_train_steps=6", "training.log_interval=1"),
    *(
        "training.per_device_train_batch_size=2",
        "training.gradient_accumulation_steps=2",
        "training.evaluation_steps=2",
    ),
    *("training.sample_generations=0", "checkpoint.checkpointing_steps=3", "data.data_split=[80,20,0]"),
)
WORKERS = ("engine.num_processes=2", "engine.device=cpu")
RUNS = {
    "single": ("peft=none",),
    "ddp": ("engine=ddp", *WORKERS),
    "zero2": ("engine=zero2", *WORKERS),
    "fsdp2": ("engine=fsdp2", *WORKERS, "peft=none"),
    "coba": ("balancer=coba", "balancer.coba_warmup_steps=2"),
    "pcgrad": ("balancer=pcgrad",),
}
TIMED = ("seconds", "memory_bytes", "tokens_per_second", "supervised_tokens_per_second", "time")
NOT_STATE = ("run.json", "manifest.json")  # The configuration may name modules that have moved.


def main() -> None:
    """Train all six, print a line for each, and exit with 1 where one differs from those given."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="directory for the runs; must not exist")
    parser.add_argument("--against", type=Path, help="the output of an earlier call")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    make_tasks(arguments.output / "tasks")
    different = 0
    for name, overrides in RUNS.items():
        run(name, overrides, arguments.output)
        different += compare(arguments.output / name, (arguments.against or arguments.output) / name)
    sys.exit(int(different > 0))


def make_tasks(root: Path) -> None:
    """Three small tasks of unequal size."""
    answers = {"add": lambda n: (f"{n} + 1", f"{n + 1}"), "double": lambda n: (f"twice {n}", f"{2 * n}")}
    for task, size in SIZES.items():
        (root / task).mkdir(parents=True)
        pairs = [answers.get(task, lambda n: (f"say it {n} times", "it " * (n % 4 + 1)))(n) for n in range(size)]
        lines = [json.dumps({"prompt": question, "response": answer}) for question, answer in pairs]
        (root / task / "data.jsonl").write_text("\n".join(lines) + "\n")


def run(name: str, overrides: tuple[str, ...], output: Path) -> None:
    """Train one."""
    paths = ",".join(f"tasks/{task}" for task in SIZES)  # Relative, so that two outputs have the same settings.
    command = [sys.executable, str(ROOT / "launch.py"), *OPTIONS, *overrides]
    command += [f"data.paths=[{paths}]", "cache_dir=cache", f"hydra.run.dir={name}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, cwd=output, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{name} ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")


def compare(run_dir: Path, other: Path) -> bool:
    """Print whether two runs left the same; whether they did not."""
    ours, theirs = hashes(run_dir), hashes(other)
    changed = sorted(file for file in ours.keys() | theirs.keys() if ours.get(file) != theirs.get(file))
    print(
        f"{run_dir.name:8} {len(ours):3} files  {'differs: ' + ', '.join(changed) if changed else 'equal'}", flush=True
    )
    return bool(changed)


def hashes(run_dir: Path) -> dict[str, str]:
    """The SHA-256 of the metrics and of each file of each checkpoint."""
    files = sorted(p for p in (run_dir / "checkpoints").rglob("step_*/*") if p.name not in NOT_STATE)
    assert files, f"{run_dir} has no checkpoint"
    contents = {str(p.relative_to(run_dir)): ADAPTED.get(p.name, Path.read_bytes)(p) for p in files}
    contents["metrics.jsonl"] = metrics(run_dir / "metrics.jsonl")
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def metrics(path: Path) -> bytes:
    """All values but those that are times or memory."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [{key: value for key, value in line.items() if not key.startswith(TIMED)} for line in lines]
    return json.dumps(kept, sort_keys=True).encode()


def adapter_config(path: Path) -> bytes:
    """All settings but the path of the base model, which lies in the output."""
    settings = json.loads(path.read_text())
    settings["target_modules"] = sorted(settings["target_modules"])  # PEFT keeps a set.
    return json.dumps({**settings, "base_model_name_or_path": None}, sort_keys=True).encode()


def sampler(path: Path) -> bytes:
    """The state of the stream without the names of the tasks, which have been added to it."""
    state = json.loads(path.read_text())
    return json.dumps({key: value for key, value in state.items() if key != "tasks"}).encode()


ADAPTED = {"adapter_config.json": adapter_config, "sampler.json": sampler}


if __name__ == "__main__":
    main()
