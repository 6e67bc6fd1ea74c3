"""What each engine keeps in a process and sends between processes, by formula.

T parameters train, in float32; F bytes are frozen; W processes, m micro-batches a step, s bytes of optimizer state for
each trained parameter (AdamW: 8). Weights, gradients and state take, in bytes of each process:

    single, ddp   4 T + 4 T + s T + F
    zero1         4 T + 4 T + (4 + s) T / W + F      an own copy of the weights and the state are sharded
    zero2         4 T + (4 + 4 + s) T / W + F        the gradients too
    zero3         ((b + 4 + 4 + s) T + F) / W        all; weights are kept in b bytes besides: 2 with bf16, else 4
    fsdp2         ((4 + 4 + s) T + F) / W            all

Formulas of ZeRO (Rajbhandari et al., arXiv 1910.02054), with gradients summed in float32.
"""

from __future__ import annotations

from typing import NamedTuple

from mftcoder.engine.deepspeed import BUCKET

ENGINES = ("single", "ddp", "zero1", "zero2", "zero3", "fsdp2")
SHARDED = ("zero3", "fsdp2")
LIVE = 1_000_000_000  # parameters that ZeRO-3 keeps gathered at most, by DeepSpeed's default


class Sizes(NamedTuple):
    """What the formulas need to know of a model and its optimizer.

    Attributes:
        trained: number of trained parameters.
        frozen: number of frozen parameters.
        frozen_bytes: size of the frozen ones.
        layer: parameters of one decoder layer.
        rest: parameters outside of the decoder layers.
        bf16: whether it computes in bfloat16.
        state: bytes of optimizer state for each trained parameter.
    """

    trained: int
    frozen: int
    frozen_bytes: float
    layer: int
    rest: int
    bf16: bool
    state: float = 8.0

    @property
    def low(self) -> int:
        """Bytes of a number that is computed with."""
        return 2 if self.bf16 else 4


def state_bytes(engine: str, sizes: Sizes, world: int) -> float:
    """Parameters, gradients and optimizer state of a process."""
    state = sizes.state
    whole, cut = {
        "single": (8 + state, 0.0),
        "ddp": (8 + state, 0.0),
        "zero1": (8.0, 4 + state),
        "zero2": (4.0, 8 + state),
        "zero3": (0.0, sizes.low + 8 + state),
        "fsdp2": (0.0, 8 + state),
    }[engine]
    frozen = sizes.frozen_bytes / (world if engine in SHARDED else 1)
    return sizes.trained * (whole + cut / world) + frozen


def working_bytes(engine: str, sizes: Sizes) -> float:
    """Weights that are there for a moment: copies that autocast keeps, or what is gathered; and DeepSpeed's buckets."""
    copies = 2 * sizes.trained if sizes.bf16 else 0
    bucket = 4 * min(sizes.trained, BUCKET)
    return {
        "single": copies,
        "ddp": copies,
        "zero1": copies + bucket,
        "zero2": copies + bucket,
        "zero3": sizes.low * min(sizes.trained + sizes.frozen, LIVE) + bucket,
        "fsdp2": sizes.low * (2 * sizes.layer + sizes.rest),
    }[engine]


def loading_bytes(engine: str, sizes: Sizes) -> float:
    """What a process holds while the model is loaded.

    FSDP2 loads the whole model on every device before it shards it; ZeRO-3 shards each weight as it is read. With the
    other engines it is less than what a step holds.
    """
    return 4 * sizes.trained + sizes.frozen_bytes if engine == "fsdp2" else 0.0


def sent_bytes(engine: str, sizes: Sizes, world: int, micro_batches: int) -> float:
    """What a process sends in a step.

    A ring sends n (W - 1) / W bytes to gather n, or to reduce and scatter them, and twice that to reduce for all. A
    gradient is 4 bytes. Sharding engines gather the weights for the forward and the backward pass of each micro-batch.
    """
    trained, m = sizes.trained, micro_batches
    gathered = 2 * (sizes.low * trained + sizes.frozen_bytes)
    volume = {
        "single": 0,
        "ddp": 8 * trained,
        "zero1": 4 * trained + 4 * trained,
        "zero2": 4 * trained * m + 4 * trained,
        "zero3": (gathered + 4 * trained) * m,
        "fsdp2": (gathered + 4 * trained) * m,
    }[engine]
    return volume * (world - 1) / world
