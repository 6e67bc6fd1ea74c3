"""For bench/scaling.py: what the engines keep and send for models and clusters that are not here.

By the formulas of mftcoder/engine/footprint.py; `python launch.py plan` applies the same to any model. This adds how
long a step computes and sends, on GPUs of which only the data sheet is known.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mftcoder.engine.footprint import Sizes, sent_bytes, state_bytes, working_bytes

ENGINES = ("ddp", "zero1", "zero2", "zero3", "fsdp2")
NODES = (1, 2, 4, 16, 64)
GPUS = 8  # a node
RANK, MICRO_BATCHES, TOKENS = 16, 8, 4096  # of LoRA on all linear layers; a step on each rank
FLOPS, NVLINK, NETWORK = 0.4 * 989e12, 450e9, 50e9  # assumed: 40 % of an H100's bf16 peak; bytes a second and GPU


class Llama(NamedTuple):
    """Sizes of a model."""

    hidden: int
    inner: int
    layers: int
    kv: int  # width of keys and of values
    vocabulary: int = 32_000

    @property
    def linears(self) -> list[tuple[int, int]]:
        """Both sides of each linear layer of a decoder layer."""
        attention = [(self.hidden, self.hidden)] * 2 + [(self.hidden, self.kv)] * 2
        return attention + [(self.hidden, self.inner)] * 3

    @property
    def layer(self) -> int:
        """Parameters of a decoder layer, but for its norms."""
        return sum(a * b for a, b in self.linears)

    @property
    def ends(self) -> int:
        """Parameters of the embedding and the head."""
        return 2 * self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """All but the norms."""
        return self.layers * self.layer + self.ends

    @property
    def adapter(self) -> int:
        """Parameters of LoRA on all linear layers."""
        return self.layers * sum(RANK * (a + b) for a, b in self.linears)

    @property
    def activations(self) -> int:
        """Bytes: the input of every layer, and what the backward pass of one needs while it is computed again."""
        return TOKENS * 2 * (self.layers * self.hidden + 10 * self.hidden + 4 * self.inner)


MODELS = {
    "7B": Llama(hidden=4096, inner=11008, layers=32, kv=4096),
    "34B": Llama(hidden=8192, inner=22016, layers=48, kv=1024),
}


def compute_seconds(model: Llama, *, full: bool) -> float:
    """Of a step: two passes forward, since layers are computed again, and one back; frozen weights need half of it."""
    return (8 if full else 6) * model.parameters * TOKENS * MICRO_BATCHES / FLOPS


def estimates() -> list[dict[str, Any]]:
    """A row for each model, way to train, and engine."""
    rows = []
    for name, model in MODELS.items():
        for method in ("lora", "full"):
            full = method == "full"
            trained, frozen = (model.parameters, 0) if full else (model.adapter, model.parameters)
            sizes = Sizes(trained, frozen, 2.0 * frozen, model.layer, model.ends, bf16=True)
            for engine in ENGINES:
                held = working_bytes(engine, sizes) + model.activations
                worlds = [nodes * GPUS for nodes in NODES]
                sent = sent_bytes(engine, sizes, worlds[-1], MICRO_BATCHES)
                rows.append(
                    {
                        "model": name,
                        "method": method,
                        "engine": engine,
                        "bytes": [state_bytes(engine, sizes, w) + held for w in worlds],
                        "sent": sent,
                        "seconds": {
                            "compute": compute_seconds(model, full=full),
                            "in a node": sent / NVLINK,
                            "between nodes": sent / NETWORK,
                        },
                    }
                )
    return rows


def show(rows: list[dict[str, Any]]) -> None:
    """Print the table."""
    sizes = " | ".join(f"{nodes} × {GPUS}" for nodes in NODES)
    print(f"| model | | engine | GB a GPU, {sizes} | GB sent | s compute | s sending: in a node | between nodes |")
    print(f"|---|---|---|{'---|' * (len(NODES) + 4)}")
    for row in rows:
        gigabytes = " | ".join(f"{n / 1e9:.0f}" for n in row["bytes"])
        seconds = row["seconds"]
        print(
            f"| {row['model']} | {row['method']} | {row['engine']} | {gigabytes} | {row['sent'] / 1e9:.1f} "
            f"| {seconds['compute']:.1f} | {seconds['in a node']:.2f} | {seconds['between nodes']:.2f} |"
        )
