"""Each use of what DeepSpeed keeps private, in a process of its own: a version that changes it fails here by name."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement
from ranks import on_ranks, once, shared
from small_models import preset
from torch import Tensor, nn

STAGES = ("zero1", "zero2", "zero3")
LIMIT = 0.25
pytestmark = pytest.mark.slow


class Toy(nn.Module):
    """A body, and a head that is called for each half of the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(4, 6), nn.Linear(6, 3)
        self.head_shapes: list[list[int]] = []

    def forward(self, x: Tensor) -> Tensor:
        hidden = self.body(x)
        self.head_shapes.append(list(self.head.weight.shape))
        return torch.cat([self.head(half) for half in hidden.chunk(2)]).square().sum()


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    """Two groups, and a state with momentum."""
    groups = [{"params": list(part.parameters())} for part in model.children()]
    return torch.optim.SGD(groups, lr=1.0, momentum=0.9)


def prepared(engine: str) -> Any:
    made = preset(f"engine/{engine}", device="cpu", mixed_precision="no")
    made.start(seed=0)
    torch.manual_seed(0)
    made.prepare(Toy(), sgd)
    return made


def backward(engine: Any) -> None:
    rows = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    with engine.micro_batch(last=True):
        engine.backward(engine.model(rows))


def moved(before: dict[str, Tensor], after: dict[str, Tensor]) -> float:
    return float(torch.stack([(after[name] - w).norm() for name, w in before.items()]).norm())


def facts(engine_name: str, out: Path) -> None:
    """What the tests ask, found on one engine."""
    engine = prepared(engine_name)
    start = engine.weights()
    backward(engine)
    found: dict[str, Any] = {"norm": engine.clip(LIMIT)}
    engine.step()
    found["moved by a clipped step"] = moved(start, engine.weights())
    found["states"] = {name: sorted(values) for name, values in engine.state_dict().items()}
    clipped = engine.weights()
    backward(engine)
    engine.discard()
    found["moved by a discarded step"] = moved(clipped, engine.weights())
    engine.load_weights(start)
    found["moved by loading"] = moved(start, engine.weights())
    backward(engine)
    found["norm after discarding and loading"] = engine.clip(None)
    found["shapes"] = [list(engine.zero.shape(p)) for p in engine.module.parameters()]
    found["head"] = engine.module.head_shapes
    out.write_text(json.dumps(found))
    engine.finish()


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], dict[str, Any]]:
    """The facts of a stage, found when they are first asked for."""
    work = shared(tmp_path_factory) / "deepspeed_private"

    def of(engine: str) -> dict[str, Any]:
        importlib.import_module("deepspeed")
        file = work / f"{engine}.json"
        once(work / engine, lambda: on_ranks(1, partial(facts, engine, file), work / "logs" / engine))
        return json.loads(file.read_text())

    return of


@pytest.fixture(scope="module")
def norm() -> float:
    """Of the same gradient on one process."""
    engine = prepared("single")
    backward(engine)
    return engine.clip(None)


def test_the_version_is_bounded() -> None:
    pyproject = (Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8")
    needed = [Requirement(text) for text in re.findall(r'"(deepspeed[<>=][^"]*)"', pyproject)]
    assert len(needed) == 1
    assert version("deepspeed") in needed[0].specifier
    assert "0.20" not in needed[0].specifier


@pytest.mark.parametrize("engine", STAGES)
class TestTricks:
    def test_the_norm_is_known_before_the_step(self, engine: str, found: Any, norm: float) -> None:
        assert found(engine)["norm"] == pytest.approx(norm, rel=1e-6)
        assert norm > LIMIT

    def test_an_overridden_loss_scale_clips(self, engine: str, found: Any) -> None:
        assert found(engine)["moved by a clipped step"] == pytest.approx(LIMIT, rel=1e-5)

    def test_an_invalid_norm_discards_the_gradients(self, engine: str, found: Any, norm: float) -> None:
        assert found(engine)["moved by a discarded step"] == 0
        assert found(engine)["norm after discarding and loading"] == pytest.approx(norm, rel=1e-6)

    def test_states_of_all_groups_are_linked(self, engine: str, found: Any) -> None:
        names = {"body.weight", "body.bias", "head.weight", "head.bias"}
        assert found(engine)["states"] == {name: ["momentum_buffer"] for name in names}

    def test_the_forward_pass_sees_loaded_weights(self, engine: str, found: Any, norm: float) -> None:
        assert found(engine)["moved by loading"] == 0
        assert found(engine)["norm after discarding and loading"] == pytest.approx(norm, rel=1e-6)

    def test_shapes_are_those_of_whole_parameters(self, engine: str, found: Any) -> None:
        assert found(engine)["shapes"] == [[6, 4], [6], [3, 6], [3]]

    def test_the_head_is_whole_all_through_the_forward_pass(self, engine: str, found: Any) -> None:
        assert found(engine)["head"]
        assert all(shape == [3, 6] for shape in found(engine)["head"])
