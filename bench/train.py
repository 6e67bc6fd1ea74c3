"""How fast and how large is our training step beside TRL's? Both train the same model on the same dialogues, in turns.

    python bench/train.py --trl PYTHON [--out out.json]     prints the table of the README, and writes it as JSON
    python bench/train.py --trl PYTHON --method full|qlora  all parameters, or LoRA over a base in 4 bits
    python bench/train.py --trl PYTHON --compiled ours|both also with torch.compile (TRL: minutes of it)
    python bench/train.py --trl PYTHON --bound              also a step's products alone, without and with attention
    python bench/train.py --trl PYTHON --memory             peaks over sequence lengths and vocabularies instead

PYTHON is an interpreter that has trl 1.16 beside everything that we need; without it, only we are measured. Dialogues
come from the standard library's five tasks, at most 512 tokens each; a step takes 8 of them, in the same order on both
sides, from the same adapter, with the same optimizer. Each run is a process of its own, which reports wall seconds of
its steps after the first and its own peak of resident memory. Ours takes packs of 1024; TRL pads a batch of 8, knows
which tokens are completions, uses its default (chunked) loss and no gradient checkpointing; `trl packed` lets it pack.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

HERE = Path(__file__).parent
LENGTHS, VOCABULARIES = (512, 1024, 2048, 4096, 8192), (32_000, 49_152, 152_064)
Run = dict[str, Any]


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trl", default=None, help="an interpreter that has trl")
    parser.add_argument("--method", default="lora", choices=("lora", "full", "qlora"))
    parser.add_argument("--dialogues", type=int, default=64)
    parser.add_argument("--batch", type=int, default=8, help="dialogues in a step")
    parser.add_argument("--pack", type=int, default=1024, help="most tokens of our micro-batches")
    parser.add_argument("--rounds", type=int, default=2, help="how often all take turns")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--packed", action="store_true", help="also TRL with its packing")
    parser.add_argument("--compiled", choices=("ours", "both"), help="also with torch.compile")
    parser.add_argument("--bound", action="store_true", help="also the products of a step by themselves")
    parser.add_argument("--cpu-time", action="store_true", help="on a busy machine: CPU seconds; with --threads 1")
    parser.add_argument("--memory", action="store_true", help="peaks over lengths and vocabularies")
    parser.add_argument("--out", type=Path, default=None)
    return parser.parse_args()


def call(python: str, script: str, job: Run, threads: int) -> Run | None:
    """What a script prints last, as JSON, having read its job; None where it failed, which it says itself."""
    settings = {"OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    command = [python, str(HERE / script), json.dumps(job)]
    done = subprocess.run(
        command, env=os.environ | settings, cwd=HERE.parent, stdout=subprocess.PIPE, text=True, check=False
    )
    return json.loads(done.stdout.strip().splitlines()[-1]) if done.returncode == 0 else None


def contenders(args: argparse.Namespace) -> dict[str, tuple[str, str, Run]]:
    """{name: interpreter, script, what its job says more}."""
    found: dict[str, tuple[str, str, Run]] = {"ours": (sys.executable, "train_ours.py", {})}
    if args.compiled:
        found["ours compiled"] = (sys.executable, "train_ours.py", {"compiled": True})
    if args.bound:
        found["its products and attention"] = (sys.executable, "train_bound.py", {"attention": True})
        found["its products"] = (sys.executable, "train_bound.py", {"attention": False})
    if args.trl is None or subprocess.run([args.trl, "-c", "import trl"], capture_output=True, check=False).returncode:
        print(f"TRL is absent ({args.trl or 'no --trl'}), so there is nothing to compare with", file=sys.stderr)
        return found
    found["trl"] = (args.trl, "train_trl.py", {"packed": False})
    if args.compiled == "both":
        found["trl compiled"] = (args.trl, "train_trl.py", {"packed": False, "compiled": True})
    if args.packed:
        found["trl packed"] = (args.trl, "train_trl.py", {"packed": True})
    return found


def in_turns(args: argparse.Namespace, job: Run, rounds: int) -> dict[str, list[Run]]:
    """Every contender once a round."""
    runs: dict[str, list[Run]] = {}
    job = {"compiled": False, "cpu_time": args.cpu_time} | job
    for _ in range(rounds):
        for name, (python, script, more) in contenders(args).items():
            load = os.getloadavg()[0]
            if run := call(python, script, job | more, args.threads):
                runs.setdefault(name, []).append(run | {"load_before": load})
                print(name, {key: value for key, value in runs[name][-1].items() if key != "losses"}, file=sys.stderr)
    return runs


def speed(args: argparse.Namespace, work: Path) -> Run:
    """Medians over the rounds, and every run."""
    inputs = call(sys.executable, "train_inputs.py", {"to": str(work), "dialogues": args.dialogues}, args.threads)
    assert inputs is not None
    job = {"model": inputs["model"], "dialogues": inputs["file"], "method": args.method}
    runs = in_turns(args, job | {"batch": args.batch, "pack": args.pack}, args.rounds)
    table = {name: summary(own) for name, own in runs.items()}
    for row in table.values():
        rival = table.get("trl", table["ours"])
        row["speed_ratio"] = row["tokens_per_second"] / rival["tokens_per_second"]
        row["memory_ratio"] = row["peak_bytes"] / rival["peak_bytes"]
    ours, *others = ((name, own[0]["losses"]) for name, own in runs.items())
    differences = {name: apart(ours[1], losses) for name, losses in others if len(losses) == len(ours[1])}
    return {"inputs": inputs, "table": table, "largest_loss_difference": differences, "runs": runs}


def apart(ours: list[float], theirs: list[float]) -> float:
    """The largest relative difference of a step's losses."""
    return max(abs(a / b - 1) for a, b in zip(ours, theirs, strict=True))


def summary(runs: list[Run]) -> Run:
    """Of one contender's runs."""
    row = {key: median(run[key] for run in runs) for key in ("padding", "peak_bytes")}
    row["tokens_per_second"] = median(run["tokens"] / run["seconds"] for run in runs)
    row["supervised_per_second"] = median(run["supervised"] / run["seconds"] for run in runs)
    row["share_of_peak"] = median(run["flops"] / run["seconds"] / run["peak_flops"] for run in runs)
    return row


def memory(args: argparse.Namespace, work: Path) -> Run:
    """Peaks of a model of two layers, by length of the one dialogue in a step, and by vocabulary."""
    rows = []
    cases = [(length, VOCABULARIES[1]) for length in LENGTHS] + [(2048, vocabulary) for vocabulary in VOCABULARIES]
    for length, vocabulary in dict.fromkeys(cases):
        made = {"to": str(work), "dialogues": 2, "length": length, "vocabulary": vocabulary}
        inputs = call(sys.executable, "train_inputs.py", made, args.threads)
        assert inputs is not None
        job = {"model": inputs["model"], "dialogues": inputs["file"], "method": args.method, "batch": 1, "pack": length}
        runs = in_turns(args, job, 1)
        over = {name: (own[0]["peak_bytes"] - own[0]["before_bytes"]) / 2**20 for name, own in runs.items()}
        rows.append({"length": length, "vocabulary": vocabulary, "mebibytes_over_the_model": over})
    return {"memory": rows}


def show(result: Run) -> None:
    if "memory" in result:
        names = list(result["memory"][0]["mebibytes_over_the_model"])
        print(
            f"| tokens | vocabulary | {' | '.join(f'{name}, MiB' for name in names)} |\n|---|---|{'---|' * len(names)}"
        )
        for row in result["memory"]:
            peaks = " | ".join(f"{row['mebibytes_over_the_model'].get(name, float('nan')):.0f}" for name in names)
            print(f"| {row['length']} | {row['vocabulary']} | {peaks} |")
        return
    print("| | tokens/s | supervised/s | peak memory | padding | of the product peak | TRL's speed | its memory |")
    print("|---|---|---|---|---|---|---|---|")
    for name, row in result["table"].items():
        print(
            f"| {name} | {row['tokens_per_second']:.1f} | {row['supervised_per_second']:.1f} "
            f"| {row['peak_bytes'] / 1e9:.2f} GB | {row['padding']:.1%} | {row['share_of_peak']:.0%} "
            f"| {row['speed_ratio']:.2f}× | {row['memory_ratio']:.2f} |"
        )
    for name, difference in result["largest_loss_difference"].items():
        print(f"largest difference of a step's loss from {name}: {difference:.3%}")


def main() -> None:
    args = arguments()
    with tempfile.TemporaryDirectory() as work:
        result = (memory if args.memory else speed)(args, Path(work))
    show(result)
    if args.out is not None:
        settings = {key: str(value) for key, value in vars(args).items() if key not in ("trl", "out")}
        args.out.write_text(json.dumps({"settings": settings, **result}, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
