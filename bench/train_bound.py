"""For bench/train.py: what a step would take if it were nothing but its matrix products, as this machine computes them.

A step of ours is recorded, product by product, and then only the products are computed again, on the model's own
weights and on random states of the same shapes and strides; with attention as torch has it, if the job says so. No
faster step is to be had from these kernels, whatever stands around them.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from train_inputs import Products, report
from train_ours import packs, prepared, size_of
from typing_extensions import override

PRODUCTS = {"mm", "bmm", "addmm", "addmm_"}
ATTENTION = {"_scaled_dot_product_flash_attention_for_cpu", "_scaled_dot_product_flash_attention_for_cpu_backward"}


class Recorder(TorchDispatchMode):
    """Keeps every call of some functions, with stand-ins of its operands: `kept` are used as they are."""

    def __init__(self, names: set[str], kept: list[Tensor]) -> None:
        super().__init__()
        self.names, self.calls = names, list[tuple[Any, Any, Any]]()
        self.kept = {tensor.untyped_storage().data_ptr() for tensor in kept}
        self.states: dict[tuple[Any, ...], Tensor] = {}

    @override
    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        if func.name().removeprefix("aten::").split(".")[0] in self.names:
            self.calls.append((func, *tree_map_only(Tensor, self._stand_in, (args, kwargs or {}))))
        return out

    def _stand_in(self, operand: Tensor) -> Tensor:
        if operand.untyped_storage().data_ptr() in self.kept:
            return operand.detach()
        key = (*operand.shape, *operand.stride())
        if key not in self.states:
            self.states[key] = torch.empty_strided(operand.shape, operand.stride()).normal_(std=0.01)
        return self.states[key]


def main() -> None:
    job, dialogues, now, peak, trainer = prepared()
    recorder = Recorder(PRODUCTS | (ATTENTION if job["attention"] else set()), list(trainer.engine.module.parameters()))
    with recorder:
        done = trainer.step(0, packs(dialogues[-job["batch"] :], job["pack"]))
    with Products() as counter:
        replay(recorder)
    seconds = []
    for _ in range(len(dialogues) // job["batch"]):
        begun = now()
        replay(recorder)
        seconds.append(now() - begun)
    flops, steps, none = counter.flops * (len(seconds) - 1), [size_of(done)] * len(seconds), float("nan")
    report([], seconds, steps, peak_bytes=none, before_bytes=none, peak_flops=peak, flops=flops)


@torch.no_grad()
def replay(recorder: Recorder) -> None:
    """Compute all that was recorded once more."""
    for func, args, kwargs in recorder.calls:
        func(*args, **kwargs)


if __name__ == "__main__":
    main()
