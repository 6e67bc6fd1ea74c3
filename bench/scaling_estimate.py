"""For bench/scaling.py: what the engines keep and send, by formula, for models and clusters that are not here.

T parameters train and F are frozen, W ranks, m micro-batches a step; bytes a rank. AdamW keeps two float32 moments.

state       in bf16 mixed precision                                      all in float32
single, ddp 16 T + 2 F     weights 4, gradients 4, moments 8             16 T + 4 F
zero1       8 T + 12 T/W + 2 F          copy and moments are cut up; before the update, the gradients too
zero2       4 T + 16 T/W + 2 F          and the gradients all the time
zero3       (18 T + 2 F) / W            weights 2, copy 4, gradients 4, moments 8; in float32 (20 T + 4 F) / W
fsdp2       (16 T + 2 F) / W            weights 4, gradients 4, moments 8

sent        a ring sends n (W - 1) / W bytes to gather or to reduce and scatter n, twice that to reduce for all; a
            gradient is 4 bytes, a weight 2 where it is gathered layer by layer, and 4 where zero1 and zero2 hand out
            the updated ones
ddp         8 T                         once a step
zero1       4 T + 4 T                   gradients once, weights after the update
zero2       4 T m + 4 T                 gradients with every micro-batch
zero3       (4 (T + F) + 4 T) m         weights for the forward and for the backward pass, gradients
fsdp2       the same
"""

from __future__ import annotations

from typing import Any, NamedTuple

from mftcoder.engine.deepspeed import BUCKET

ENGINES = ("ddp", "zero1", "zero2", "zero3", "fsdp2")
NODES = (1, 2, 4, 16, 64)
GPUS = 8  # a node
RANK, MICRO_BATCHES, TOKENS = 16, 8, 4096  # of LoRA on all linear layers; a step on each rank
LIVE = 1_000_000_000  # parameters that DeepSpeed keeps gathered at most, by default
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


def state_bytes(engine: str, trained: int, frozen: int, world: int, *, bf16: bool) -> float:
    """Parameters, gradients and optimizer state of a rank."""
    low = 2 if bf16 else 4
    return {
        "single": 16 * trained + low * frozen,
        "ddp": 16 * trained + low * frozen,
        "zero1": 8 * trained + 12 * trained / world + low * frozen,
        "zero2": 4 * trained + 16 * trained / world + low * frozen,
        "zero3": ((16 + low) * trained + low * frozen) / world,
        "fsdp2": (16 * trained + low * frozen) / world,
    }[engine]


def working_bytes(engine: str, model: Llama, trained: int) -> float:
    """Weights that are there for a moment: bf16 copies that autocast keeps, or what is gathered; and buckets."""
    bucket = 4 * min(trained, BUCKET)
    return {
        "ddp": 2 * trained,
        "zero1": 2 * trained + bucket,
        "zero2": 2 * trained + bucket,
        "zero3": 2 * min(model.parameters, LIVE) + bucket,
        "fsdp2": 2 * (2 * model.layer + model.ends),
    }[engine]


def sent_bytes(engine: str, trained: int, frozen: int, world: int) -> float:
    """What a rank sends in a step, in bf16 mixed precision."""
    m, gathered = MICRO_BATCHES, 2 * 2 * (trained + frozen)
    volume = {
        "ddp": 8 * trained,
        "zero1": 8 * trained,
        "zero2": 4 * trained * m + 4 * trained,
        "zero3": (gathered + 4 * trained) * m,
        "fsdp2": (gathered + 4 * trained) * m,
    }[engine]
    return volume * (world - 1) / world


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
            for engine in ENGINES:
                held = working_bytes(engine, model, trained) + model.activations
                worlds = [nodes * GPUS for nodes in NODES]
                sent = sent_bytes(engine, trained, frozen, worlds[-1])
                rows.append(
                    {
                        "model": name,
                        "method": method,
                        "engine": engine,
                        "bytes": [state_bytes(engine, trained, frozen, w, bf16=True) + held for w in worlds],
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
