"""Engines where PyTorch answers as it does on a machine with CUDA, although all is computed on the CPU."""

from __future__ import annotations

import importlib
from functools import partial
from pathlib import Path
from typing import Any

import parity_cases as toy
import pytest
import torch
from ranks import on_ranks
from torch import nn

from mftcoder.engine.device import choose_device, uses_bf16

ENGINES = ("single", "ddp", "zero1", "zero2", "zero3", "fsdp2")
CASES = ("bf16-full", "bf16-lora")


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls whose answer differs on a machine with CUDA."""
    autocast = torch.is_autocast_enabled
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda device_type="cpu": autocast(device_type))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)


@pytest.mark.usefixtures("cuda")
def test_auto_is_cuda_in_bf16() -> None:
    assert choose_device("auto").type == "cuda"
    assert uses_bf16("auto", torch.device("cuda"))
    assert not uses_bf16("no", torch.device("cuda"))


def test_auto_is_never_mps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device("auto").type == "cpu"
    assert choose_device("mps").type == "mps"


def products_are_bf16(setting: str, work: Path) -> None:
    """Train a step of each case, and fail where a product with weights was not computed in bfloat16.

    ZeRO-3 has no autocast: there adapters, whose weights are float32, compute in that.
    """
    autocast = torch.is_autocast_enabled
    torch.is_autocast_enabled = lambda device_type="cpu": autocast(device_type)  # type: ignore[assignment]
    engine = toy.make_engine(setting)
    engine.start(seed=0)
    for key in CASES:
        case = toy.CASES[key]
        trainer = toy.make_trainer(engine, case, "float32", work)
        seen: set[torch.dtype] = set()

        def note(module: nn.Module, args: Any, output: torch.Tensor, seen: set[torch.dtype] = seen) -> None:
            seen.add(output.dtype)

        for name, module in engine.module.named_modules():
            if isinstance(module, nn.Linear) and not (setting == "zero3" and "lora_" in name):
                module.register_forward_hook(note)
        (report,) = toy.run(trainer, case, 0, 1)
        assert seen == {torch.bfloat16}, f"{key}: {seen}"
        assert not report["skipped"]
    engine.finish()


@pytest.mark.slow
@pytest.mark.parametrize("setting", ENGINES)
def test_products_are_in_bf16(setting: str, tmp_path: Path) -> None:
    if setting.startswith("zero"):
        importlib.import_module("deepspeed")
    toy.make_models(tmp_path)
    on_ranks(1, partial(products_are_bf16, setting, tmp_path), tmp_path / "logs")
