"""Every engine takes the same steps: loss, losses of tasks, gradient norm, weights; and any goes on with any's state.

Two processes on each engine, against one process that has their micro-batches one after the other; with context
parallelism (ddp/2) both have all of these, and a part of each row, and four are two times two of that (ddp/2-of-4).
PyTorch's engines agree in float64 to 1e-12; DeepSpeed trains in float32, in which 4-bit weights are computed with too.
"""

from __future__ import annotations

import importlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity_cases as toy
import pytest
import torch
from ranks import on_ranks, once, shared
from safetensors.torch import load_file

from mftcoder.storage import serialize

DTYPES = {"ddp": "float64", "fsdp2": "float64", "zero1": "float32", "zero2": "float32", "zero3": "float32"}
DTYPES |= {f"{engine}/2": dtype for engine, dtype in DTYPES.items()}
DTYPES |= {"ddp/2-of-4": "float64", "fsdp2/whole": "float64"}
PAIRS = [(engine, key) for engine in DTYPES for key in toy.cases(engine)]
pytestmark = pytest.mark.slow


def single(work: Path) -> None:
    """What one process makes of the models."""
    toy.make_models(work)
    for dtype in set(DTYPES.values()):
        for key, case in toy.CASES.items():
            engine = toy.make_engine("single")
            engine.start(seed=0)
            toy.train(toy.make_trainer(engine, case, dtype, work), case, work / f"single-{dtype}" / key)


def several(engine: str, work: Path) -> None:
    """What as many forked processes as the setting has make of them."""
    if engine.startswith("zero"):
        importlib.import_module("deepspeed")  # Once for all that are forked.
    dtype = DTYPES[engine]
    on_ranks(toy.variant(engine).processes, lambda: toy.on_this_rank(engine, dtype, work), work / "logs" / engine)


@pytest.fixture(scope="session")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of all processes of pytest, with the models and what one process makes of them."""
    work = shared(tmp_path_factory) / "parity"
    once(work / "single", lambda: single(work))
    return work


@pytest.fixture(scope="session")
def results(work: Path) -> Callable[[str], Path]:
    """The directory with what an engine made, which runs when it is first asked for."""

    def run(engine: str) -> Path:
        out = work / engine.replace("/", "-")
        once(out, lambda: several(engine, work))
        return out

    return run


def reports(directory: Path) -> list[dict[str, Any]]:
    return json.loads((directory / "reports.json").read_text())


def tolerance(engine: str, key: str) -> dict[str, float]:
    exact = DTYPES[engine] == "float64" and toy.CASES[key].method != "qlora"
    return {"rtol": 1e-12, "atol": 1e-12} if exact else {"rtol": 5e-6, "atol": 5e-6}


def state(directory: Path) -> dict[str, Any]:
    """Weights, and the optimizer's state of each."""
    return {"weights": load_file(directory / "weights.safetensors"), **serialize.read(directory, "optimizer")}


@pytest.mark.parametrize(("engine", "key"), PAIRS)
class TestParity:
    def test_the_steps_are_those_of_one_process(self, engine: str, key: str, work: Path, results: Any) -> None:
        expected, got = reports(work / f"single-{DTYPES[engine]}" / key), reports(results(engine) / key)
        assert [r["skipped"] for r in got] == [False] * toy.STEPS + [True, True, False]
        for a, b in zip(expected, got, strict=True):
            if not a["skipped"]:
                torch.testing.assert_close(b, a, **tolerance(engine, key))

    @pytest.mark.parametrize("moment", ["middle", "last", "after"])
    def test_weights_and_optimizer_are_those_of_one_process(
        self, engine: str, key: str, moment: str, work: Path, results: Any
    ) -> None:
        expected, got = state(work / f"single-{DTYPES[engine]}" / key / moment), state(results(engine) / key / moment)
        torch.testing.assert_close(got, expected, **tolerance(engine, key))

    def test_it_goes_on_with_the_state_of_one_process(self, engine: str, key: str, work: Path, results: Any) -> None:
        expected = state(work / f"single-{DTYPES[engine]}" / key / "last")
        torch.testing.assert_close(state(results(engine) / key / "resumed"), expected, **tolerance(engine, key))

    def test_one_process_goes_on_with_its_state(
        self, engine: str, key: str, work: Path, results: Any, tmp_path: Path
    ) -> None:
        case, single = toy.CASES[key], toy.make_engine("single")
        single.start(seed=0)
        trainer = toy.make_trainer(single, case, DTYPES[engine], work)
        toy.resume(trainer, case, results(engine) / key, tmp_path)
        torch.testing.assert_close(
            state(tmp_path / "resumed"), state(results(engine) / key / "last"), **tolerance(engine, key)
        )

    def test_steps_that_are_not_finite_on_one_rank_change_nothing(self, engine: str, key: str, results: Any) -> None:
        before, after = state(results(engine) / key / "last"), state(results(engine) / key / "refused")
        torch.testing.assert_close(after, before, rtol=0, atol=0)
        poisoned = reports(results(engine) / key)[toy.STEPS : toy.STEPS + 2]
        assert not math.isfinite(poisoned[0]["grad_norm"])
        assert math.isfinite(poisoned[1]["grad_norm"])
