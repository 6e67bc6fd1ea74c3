"""What do the engines cost? Time and memory of a step, what a checkpoint holds up, how long resuming takes.

    python bench/scaling.py [out.json] [engines|checkpoints|resuming|estimate …]     all four parts, or those named

A random llama of 24.6 million parameters in float32 on the CPU, one thread a process, 256 tokens a process in a step.
engines: median seconds of a step and the highest memory of the worse rank, over what it had before the model was
loaded, beside what mftcoder/engine/footprint.py says of parameters, gradients and optimizer state. Each rank is forked
from this process, so that it begins with the libraries and nothing else. checkpoints: what the loop of steps
waits for one of all parameters and their optimizer state, and how much slower steps are while one is being written.
resuming: from the newest checkpoint to the next global batch, after runs of different lengths. estimate: bytes and
communication for real models on real clusters; nothing of that is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import platform
import socket
import sys
import tempfile
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import scaling_estimate as estimate
import torch
from scaling_runs import PEFT, Result, checkpoints, engine_case, resuming

from mftcoder.engine.footprint import Sizes, state_bytes

ENGINES = ("single", *estimate.ENGINES)


def in_processes(number: int, case: Callable[[], Result]) -> list[Result]:
    """What `case` gives on each of so many forked ranks. Raises RuntimeError where one fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    context = multiprocessing.get_context("fork")
    results = context.Queue()

    def rank_main(rank: int) -> None:
        place = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": number, "MASTER_ADDR": "127.0.0.1"}
        os.environ.update({name: str(value) for name, value in place.items()}, MASTER_PORT=port)
        try:
            results.put(case())
        except Exception:
            results.put({"error": traceback.format_exc()})
        results.close()
        results.join_thread()
        os._exit(0)  # Gloo's threads sometimes abort the interpreter's own exit.

    ranks = [context.Process(target=rank_main, args=(rank,)) for rank in range(number)]
    for rank in ranks:
        rank.start()
    done = []
    while len(done) < number:
        done.append(results.get(timeout=200))
        if "error" in done[-1]:
            for rank in ranks:
                rank.kill()
            raise RuntimeError(done[-1]["error"])
    for rank in ranks:
        rank.join()
    return done


def engines(directory: Path) -> list[Result]:
    """A row for each engine, way to train, and number of processes."""
    import deepspeed  # noqa: F401  # here, for the memory of the ranks to begin with it

    in_processes(1, partial(engine_case, "single", "full", directory))  # Draws the weights, once for all.
    rows = []
    for method in PEFT:
        for engine in ENGINES:
            for number in (1,) if engine == "single" else (1, 2):
                ranks = in_processes(number, partial(engine_case, engine, method, directory))
                row = {key: max(rank[key] for rank in ranks) for key in ranks[0]}
                held = "zero2" if engine == "zero1" else engine  # by then it too has cut up the gradients
                trained, frozen = int(row["trained"]), int(row["frozen"])
                sizes = Sizes(trained, frozen, 4.0 * frozen, layer=0, rest=0, bf16=False)  # without what is gathered
                formula = state_bytes(held, sizes, number)
                rows.append({"engine": engine, "method": method, "processes": number, "formula": formula, **row})
                print(rows[-1], file=sys.stderr)
    return rows


def show(result: Result) -> None:
    """Print a table for each part."""
    if "engines" in result:
        print("| engine | | processes | s a step | peak MiB | held before the update | by formula |")
        print("|---|---|---|---|---|---|---|")
        for row in result["engines"]:
            mebibytes = " | ".join(f"{row[key] / 2**20:.0f}" for key in ("peak", "held", "formula"))
            print(f"| {row['engine']} | {row['method']} | {row['processes']} | {row['seconds']:.3f} | {mebibytes} |")
    if "checkpoints" in result:
        found = result["checkpoints"]
        print(f"\na checkpoint of {found['bytes'] / 1e6:.0f} MB; a step takes {found['step_seconds']:.3f} s")
        print("| saving | the loop waits | slower steps | of 100 steps |\n|---|---|---|---|")
        for kind in ("synchronous", "asynchronous"):
            waits, slower = found[kind]["waits"], found[kind]["slower"]
            share = (waits + slower) / (100 * found["step_seconds"])
            print(f"| {kind} | {waits:.3f} s | {slower:.3f} s | {share:.2%} |")
    if "resuming" in result:
        print("\n| steps so far | s from the checkpoint to the next global batch |\n|---|---|")
        for row in result["resuming"]:
            print(f"| {row['steps']} | {row['seconds']:.3f} |")
    if "estimate" in result:
        print()
        estimate.show(result["estimate"])


def main() -> None:
    parts: dict[str, Callable[[Path], Any]] = {
        "engines": engines,
        "checkpoints": checkpoints,
        "resuming": resuming,
        "estimate": lambda directory: estimate.estimates(),
    }
    chosen = [name for name in sys.argv[1:] if name in parts] or list(parts)
    torch.set_num_threads(1)
    os.environ["DS_ACCELERATOR"] = "cpu"
    result: Result = {"torch": torch.__version__, "python": platform.python_version()}
    with tempfile.TemporaryDirectory() as directory:
        for name in chosen:
            (place := Path(directory) / name).mkdir()
            result[name] = parts[name](place)
    show(result)
    if len(sys.argv) > 1 and sys.argv[1] not in parts:
        Path(sys.argv[1]).write_text(json.dumps(result, indent=1), encoding="utf-8")


if __name__ == "__main__":
    main()
