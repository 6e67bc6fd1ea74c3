"""The verb `plan`: what a run would need, found without weights, data or the machines it is for."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TypedDict

from rich.table import Table
from torch.optim import Optimizer

from mftcoder.core.errors import UserError
from mftcoder.engine.footprint import ENGINES, Sizes, loading_bytes, sent_bytes, state_bytes, working_bytes
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.forward.linear_loss import CHUNK_BYTES, CUDA_CHUNK_BYTES
from mftcoder.model.memory import Outline, outline
from mftcoder.peft.base import Peft
from mftcoder.quantization.base import Quantization
from mftcoder.system.files import write_text
from mftcoder.system.terminal import table, terminal


class Need(TypedDict):
    """Of a process with an engine, among so many processes."""

    engine: str
    processes: int
    bytes: float | None
    sent_bytes: float


def plan(
    *,
    name: str,
    model: CausalLM,
    quantization: Quantization | None,
    peft: Peft | None,
    optimizer: Callable[..., Optimizer],
    seq_length: int,
    per_device_train_batch_size: int,
    gradient_accumulation_steps: int,
    processes: list[int],
    bf16: bool,
    run_dir: Path,
) -> None:
    """Print the memory of a process, and what it sends in a step, for each engine and number of processes.

    Needs only the config of the model. Weights, gradients and optimizer state follow the engines' formulas, activations
    are what a forward pass saves, the loss is the fused one; what libraries, kernels and fragmentation add is left out.
    name: of the directory that runs go to; run_dir: where plan.json goes. Raises UserError for numbers below 1.
    """
    numbers = [seq_length, per_device_train_batch_size, gradient_accumulation_steps, *processes]
    if not processes or min(numbers) < 1:
        raise UserError(
            "seq_length, per_device_train_batch_size, gradient_accumulation_steps and processes=[1,8,...] must all be "
            f"above 0, not {', '.join(map(str, numbers))}"
        )
    found = outline(model, peft, quantization, rows=per_device_train_batch_size, length=seq_length, bf16=bf16)
    sizes = Sizes(
        trained=found.trained,
        frozen=found.frozen,
        frozen_bytes=found.frozen_bytes,
        layer=found.layer,
        rest=found.rest,
        bf16=bf16,
        state=2.0 if _in_8_bits(optimizer) else 8.0,
    )
    needs = [
        need(engine, sizes, found, world, gradient_accumulation_steps) for engine in ENGINES for world in processes
    ]
    write_text(run_dir / "plan.json", json.dumps({"model": asdict(found), "needs": needs}, indent=1))
    console = terminal()
    console.print(*summary(found, rows=per_device_train_batch_size, length=seq_length), sep="\n", soft_wrap=True)
    console.print(memory_table(needs, processes))


def need(engine: str, sizes: Sizes, found: Outline, world: int, micro_batches: int) -> Need:
    """What each of `world` processes needs; memory None where the engine runs no such number."""
    loss = 2 * (CUDA_CHUNK_BYTES if sizes.bf16 else CHUNK_BYTES)  # logits of a chunk, and what is computed of them
    held = working_bytes(engine, sizes) + (found.kept or 0) + (found.recomputed or 0) + loss
    possible = engine != "single" or world == 1
    return {
        "engine": engine,
        "processes": world,
        "bytes": max(state_bytes(engine, sizes, world) + held, loading_bytes(engine, sizes)) if possible else None,
        "sent_bytes": sent_bytes(engine, sizes, world, micro_batches),
    }


def summary(found: Outline, *, rows: int, length: int) -> list[str]:
    """The model and its micro-batches, a line each."""
    total = found.trained + found.frozen
    lines = [f"{found.architecture}: {_count(total)} parameters, of which {_count(found.trained)} train"]
    batch = f"A micro-batch of {rows} x {length} tokens"
    if found.kept is None:
        return [*lines, f"{batch} is not counted: what this architecture keeps cannot be told from shapes"]
    again = f" and {_gigabytes(found.recomputed)} GB for the layer that is computed again" if found.recomputed else ""
    return [*lines, f"{batch} keeps {_gigabytes(found.kept)} GB for the backward pass{again}"]


def memory_table(needs: list[Need], processes: list[int]) -> Table:
    """A row for each engine, a column for each number of processes."""
    shown = table(
        *("engine", *map(str, processes), "GB sent"),
        title="GB that each process needs, by the number of processes",
        caption=f"sent: by each of {processes[-1]} in a step. Libraries, kernels and fragmentation add to the memory.",
    )
    for engine in ENGINES:
        own = [each for each in needs if each["engine"] == engine]
        sent = "" if own[-1]["bytes"] is None else _gigabytes(own[-1]["sent_bytes"])
        shown.add_row(engine, *("" if e["bytes"] is None else _gigabytes(e["bytes"]) for e in own), sent)
    return shown


def _count(number: int) -> str:
    return f"{number / 1e9:.2f} billion" if number >= 1e9 else f"{number / 1e6:.1f} million"


def _gigabytes(number: float | None) -> str:
    gigabytes = (number or 0) / 1e9
    return f"{gigabytes:.2f}" if gigabytes < 10 else f"{gigabytes:.0f}"


def _in_8_bits(optimizer: Callable[..., Optimizer]) -> bool:
    return "8bit" in getattr(getattr(optimizer, "func", None), "__name__", "")
