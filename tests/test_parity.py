"""Every engine takes the same steps: loss, losses of tasks, gradient norm, weights; and any goes on with any's state.

Two processes on each engine, against one process that has their micro-batches one after the other; with context
parallelism (ddp/2) both have all of these, and a part of each row, and four are two times two of that (ddp/2-of-4).
PyTorch's engines agree in float64 to 1e-12; DeepSpeed trains in float32, in which 4-bit weights are computed with too.
In bf16, counts and effective weights are equal to the bit and losses to the rounding of bfloat16; what was measured is
printed by `python tests/support/parity_table.py DIRECTORY` after `pytest tests/test_parity.py --basetemp=DIRECTORY`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import parity_cases as toy
import pytest
import torch
from parity_table import differences, reports
from ranks import import_deepspeed, on_ranks, once, shared
from safetensors.torch import load_file

from mftcoder.storage import serialize

DTYPES = {"ddp": "float64", "fsdp2": "float64", "zero1": "float32", "zero2": "float32", "zero3": "float32"}
DTYPES |= {f"{engine}/2": dtype for engine, dtype in DTYPES.items()}
DTYPES |= {"ddp/2-of-4": "float64", "fsdp2/whole": "float64"}
PAIRS = [(engine, key) for engine in DTYPES for key, case in toy.cases(engine).items() if not case.bf16]
BF16_PAIRS = [(engine, key) for engine in DTYPES for key, case in toy.cases(engine).items() if case.bf16]
# Largest relative difference of losses and norms to one process in bf16. The first three compute the very same
# forward passes, under autocast; the others keep the residual stream in bfloat16 as well.
FIRST_STEP = {"ddp": 1e-5, "zero1": 1e-5, "zero2": 1e-5, "fsdp2": 1e-2, "zero3": 1e-2}
ALL_STEPS = 2e-2
pytestmark = pytest.mark.slow


def single(work: Path) -> None:
    """What one process makes of the models."""
    toy.make_models(work)
    for dtype in set(DTYPES.values()):
        for key, case in toy.CASES.items():
            out = toy.reference(work, dtype, key)
            if not out.exists():
                engine = toy.make_engine("single")
                engine.start(seed=0)
                toy.train(toy.make_trainer(engine, case, dtype, work), case, out)


def several(engine: str, work: Path) -> None:
    """What as many forked processes as the setting has make of them."""
    if engine.startswith("zero"):
        import_deepspeed()
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


def tolerance(engine: str, key: str) -> dict[str, float]:
    exact = DTYPES[engine] == "float64" and toy.CASES[key].method != "qlora"
    return {"rtol": 1e-12, "atol": 1e-12} if exact else {"rtol": 5e-6, "atol": 5e-6}


def state(directory: Path) -> dict[str, Any]:
    """Weights, and the optimizer's state of each."""
    return {"weights": load_file(directory / "weights.safetensors"), **serialize.read(directory, "optimizer")}


@pytest.mark.parametrize(("engine", "key"), PAIRS)
class TestParity:
    def test_the_steps_are_those_of_one_process(self, engine: str, key: str, work: Path, results: Any) -> None:
        expected, got = reports(toy.reference(work, DTYPES[engine], key)), reports(results(engine) / key)
        assert [r["skipped"] for r in got] == [False] * toy.STEPS + [True, True, False]
        for a, b in zip(expected, got, strict=True):
            if not a["skipped"]:
                torch.testing.assert_close(b, a, **tolerance(engine, key))

    @pytest.mark.parametrize("moment", ["middle", "last", "after"])
    def test_weights_and_optimizer_are_those_of_one_process(
        self, engine: str, key: str, moment: str, work: Path, results: Any
    ) -> None:
        expected, got = state(toy.reference(work, DTYPES[engine], key) / moment), state(results(engine) / key / moment)
        torch.testing.assert_close(got, expected, **tolerance(engine, key))

    def test_it_goes_on_with_the_state_of_one_process(self, engine: str, key: str, work: Path, results: Any) -> None:
        expected = state(toy.reference(work, DTYPES[engine], key) / "last")
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


@pytest.mark.parametrize(("engine", "key"), BF16_PAIRS)
class TestBf16:
    def test_counts_and_effective_weights_are_those_of_one_process(
        self, engine: str, key: str, work: Path, results: Any
    ) -> None:
        expected, got = reports(toy.reference(work, "", key)), reports(results(engine) / key)
        for a, b in zip(expected, got, strict=True):
            assert (b["counts"], b["skipped"]) == (a["counts"], a["skipped"])
            surgery = 1e-3 if toy.CASES[key].by_task else 0.0  # There, they follow from the rounded gradients.
            assert b["effective"] == pytest.approx(a["effective"], rel=surgery, abs=0)

    def test_losses_and_norms_are_those_of_one_process(self, engine: str, key: str, work: Path, results: Any) -> None:
        found = differences(reports(toy.reference(work, "", key)), reports(results(engine) / key))
        assert max(found[0].values()) <= FIRST_STEP[engine.partition("/")[0]], found[0]
        assert max(max(step.values()) for step in found) <= ALL_STEPS, found

    def test_trained_weights_and_states_are_float32(self, engine: str, key: str, results: Any) -> None:
        kept = state(results(engine) / key / "last")
        tensors = [*kept.pop("weights").values(), *(v for values in kept.values() for v in values.values())]
        assert {t.dtype for t in tensors if isinstance(t, torch.Tensor)} == {torch.float32}


@pytest.mark.parametrize(("engine", "key"), PAIRS + BF16_PAIRS)
class TestNotFinite:
    def test_steps_that_are_not_finite_on_one_rank_change_nothing(self, engine: str, key: str, results: Any) -> None:
        before, after = state(results(engine) / key / "last"), state(results(engine) / key / "refused")
        torch.testing.assert_close(after, before, rtol=0, atol=0)
        poisoned = reports(results(engine) / key)[toy.STEPS : toy.STEPS + 2]
        assert not math.isfinite(poisoned[0]["grad_norm"])
        assert math.isfinite(poisoned[1]["grad_norm"])
