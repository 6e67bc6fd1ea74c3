"""The formulas of engine memory, against what a real step holds and against each other."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mftcoder.engine.footprint import ENGINES, SHARDED, Sizes, loading_bytes, sent_bytes, state_bytes, working_bytes

SIZES = Sizes(trained=1_000, frozen=50_000, frozen_bytes=100_000.0, layer=5_000, rest=1_000, bf16=True)


def test_a_single_process_holds_what_torch_holds() -> None:
    net = nn.Sequential(nn.Linear(64, 64), nn.Linear(64, 64))
    net[0].requires_grad_(False)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad])
    net(torch.randn(2, 64)).sum().backward()
    optimizer.step()
    moments = [v for state in optimizer.state.values() for v in state.values() if v.ndim]
    gradients = [p.grad for p in net.parameters() if p.grad is not None]
    frozen = sum(p.numel() for p in net[0].parameters())
    trained = sum(p.numel() for p in net[1].parameters())
    sizes = Sizes(trained, frozen, 4.0 * frozen, layer=trained, rest=0, bf16=False)
    assert state_bytes("single", sizes, 1) == sum(t.nbytes for t in (*net.parameters(), *gradients, *moments))


@pytest.mark.parametrize("engine", ENGINES)
def test_more_processes_never_hold_more(engine: str) -> None:
    held = [state_bytes(engine, SIZES, world) for world in (1, 2, 8, 1_000_000)]
    assert held == sorted(held, reverse=True)
    never_cut = {"single": 16_000, "ddp": 16_000, "zero1": 8_000, "zero2": 4_000}.get(engine, 0)
    frozen = 0 if engine in SHARDED else SIZES.frozen_bytes
    assert held[-1] == pytest.approx(never_cut + frozen, abs=1)


def test_eight_bit_states_save_six_bytes_a_parameter() -> None:
    assert state_bytes("ddp", SIZES, 1) - state_bytes("ddp", SIZES._replace(state=2.0), 1) == 6 * SIZES.trained


def test_only_fsdp2_loads_the_whole_model_before_it_is_sharded() -> None:
    assert loading_bytes("fsdp2", SIZES) == 4 * SIZES.trained + SIZES.frozen_bytes
    assert {loading_bytes(engine, SIZES) for engine in ENGINES if engine != "fsdp2"} == {0.0}


def test_what_is_sent() -> None:
    one, many = (sent_bytes("ddp", SIZES, world, 8) for world in (1, 1_000_000))
    assert one == 0
    assert many == pytest.approx(8 * SIZES.trained, rel=1e-5)  # reduced for all: 4 bytes, there and back
    assert sent_bytes("zero2", SIZES, 2, 8) == (4 * 1_000 * 8 + 4 * 1_000) / 2
    assert sent_bytes("fsdp2", SIZES, 2, 1) == (2 * (2 * 1_000 + 100_000) + 4 * 1_000) / 2


def test_only_fully_sharded_engines_gather() -> None:
    assert working_bytes("ddp", SIZES) == 2 * SIZES.trained
    assert working_bytes("fsdp2", SIZES) == 2 * (2 * SIZES.layer + SIZES.rest)
    assert working_bytes("zero3", SIZES) == 2 * (SIZES.trained + SIZES.frozen) + 4 * SIZES.trained
