"""What holds for every balancer, as its YAML builds it."""

import inspect
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from loss_series import Series, losses_of, simulate, started
from omegaconf import OmegaConf

from mftcoder.balancer.base import AdaptiveBalancer, Balancer, GradientBalancer
from mftcoder.balancer.coba import CoBa
from mftcoder.core.batch import TaskLosses
from mftcoder.core.errors import UserError

FILES = sorted((Path(__file__).parents[2] / "conf/balancer").glob("*.yaml"))
SHORT = {
    "coba_warmup_steps": 6,
    "coba_history_length": 9,
    "coba_update_interval": 2,
    "window_steps": 2,
    "reset_steps": 4,
}
"""Lengths that a short series goes through several times."""


def target(path: Path) -> tuple[type[Balancer], dict[str, Any]]:
    """The class that a YAML names, and its arguments."""
    tree = OmegaConf.to_container(OmegaConf.create({"seed": 3, "balancer": OmegaConf.load(path)}), resolve=True)
    arguments = tree["balancer"]  # type: ignore[index, call-overload]
    module, name = arguments.pop("_target_").rsplit(".", 1)
    return getattr(import_module(module), name), arguments


def build(path: Path, tasks: int, **overrides: Any) -> Balancer:
    cls, arguments = target(path)
    return started(cls(**arguments | {k: v for k, v in (SHORT | overrides).items() if k in arguments}), tasks)


def run(balancer: Balancer, series: Series, steps: range) -> list[torch.Tensor]:
    """Weights, and for gradient methods coefficients, of the steps."""
    seen = []
    if steps.start == 0 and balancer.wants(-1):
        balancer.observe(-1, losses_of(series[-1]))
    for step in steps:
        losses = losses_of(series[step])
        weights = balancer.weights(step, losses.count)
        seen.append(weights.clone())
        if isinstance(balancer, GradientBalancer):
            shares = torch.where(losses.present, weights, 0.0) / weights.sum()
            rows = np.random.default_rng(step).normal(size=(len(weights), 6)) * series.shape[1]
            gram = torch.from_numpy(rows @ rows.T) * torch.outer(losses.count, losses.count)
            seen.append(balancer.coefficients(step, gram, shares))
        if balancer.wants(step):
            balancer.observe(step, losses)
    return seen


each = pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
adaptive = pytest.mark.parametrize(
    "path", [p for p in FILES if issubclass(target(p)[0], AdaptiveBalancer)], ids=lambda path: path.stem
)


def test_every_module_has_its_choice() -> None:
    modules = {p.stem for p in (Path(__file__).parents[2] / "mftcoder/balancer").glob("*.py")}
    assert modules - {"__init__", "base", "adam"} == {p.stem for p in FILES}
    assert len(FILES) >= 15


@each
def test_the_yaml_has_every_parameter_and_no_other(path: Path) -> None:
    cls, arguments = target(path)
    parameters = inspect.signature(cls).parameters.values()
    assert list(arguments) == [p.name for p in parameters]
    assert all(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
    assert cls.__module__ == f"mftcoder.balancer.{path.stem}"


@each
@pytest.mark.parametrize("cut", [1, 2, 9, 20])
def test_a_resumed_balancer_goes_on_to_the_bit(path: Path, cut: int) -> None:
    series = simulate(5, 40)
    whole = run(build(path, 5), series, range(40))
    first, second = build(path, 5), build(path, 5)
    before = run(first, series, range(cut))
    state = first.state_dict()
    run(first, series, range(cut, 40))  # what goes on must not reach into the state that was taken
    second.load_state_dict(state)
    after = run(second, series, range(cut, 40))
    assert all(torch.equal(a, b) for a, b in zip(before + after, whole, strict=True))


@each
def test_weights_have_no_memory_of_being_asked(path: Path) -> None:
    series = simulate(4, 30)
    asked, seen = build(path, 4), []
    for step in range(30):
        for other in (step + 7, 0, step):
            asked.weights(other, torch.ones(4, dtype=torch.float64))
        seen += run(asked, series, range(step, step + 1))
    expected = run(build(path, 4), series, range(30))
    assert all(torch.equal(a, b) for a, b in zip(seen, expected, strict=True))


wild = st.lists(
    st.lists(
        st.one_of(st.floats(0, 10), st.floats(0, 1e300), st.sampled_from([0.0, 1e-300, np.inf, np.nan, -1.0, 5e-324])),
        min_size=3,
        max_size=3,
    ),
    min_size=1,
    max_size=25,
)


@each
@given(series=wild)
@settings(max_examples=40, deadline=None)
def test_weights_are_finite_and_non_negative_whatever_the_losses(path: Path, series: list[list[float]]) -> None:
    for weights in run(build(path, 3), np.array(series), range(len(series))):
        assert weights.dtype == torch.float64
        assert weights.shape == (3,)
        assert weights.isfinite().all()
        assert (weights >= 0).all()


@adaptive
@given(series=wild, low=st.floats(0, 0.99), high=st.one_of(st.none(), st.floats(1.01, 9)), floor=st.floats(0, 1))
@settings(max_examples=25, deadline=None)
def test_bounds_hold(path: Path, series: list[list[float]], low: float, high: float | None, floor: float) -> None:
    balancer = build(path, 3, min_weight=low, max_weight=high, floor=floor)
    for weights in run(balancer, np.array(series), range(len(series)))[:: 2 if path.stem == "gradnorm" else 1]:
        assert weights.min() >= low - 1e-12
        assert weights.max() <= (high or 3) + 1e-12
        assert weights.mean().item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("tasks", [1, 2, 5, 40])
def test_bounded_scales_what_is_free_and_keeps_ratios_there(tasks: int) -> None:
    generator = torch.Generator().manual_seed(tasks)
    cls, arguments = target(next(p for p in FILES if p.stem == "lbtw"))
    balancer = cls(**arguments | {"min_weight": 0.3, "max_weight": 2.5})
    assert isinstance(balancer, AdaptiveBalancer)
    for _ in range(50):
        raw = torch.rand(tasks, generator=generator, dtype=torch.float64) ** 4
        weights = balancer.bounded(raw)
        free = (weights > 0.3 + 1e-9) & (weights < 2.5 - 1e-9)
        scales = weights[free] / raw[free]
        torch.testing.assert_close(scales, scales[:1].expand_as(scales), rtol=1e-9, atol=0)
        assert weights.mean().item() == pytest.approx(1, abs=1e-12)
        if len(scales):
            assert (raw[weights <= 0.3 + 1e-9] * scales[0] <= 0.3 + 1e-9).all()
            assert (raw[weights >= 2.5 - 1e-9] * scales[0] >= 2.5 - 1e-9).all()


def test_the_floor_is_handed_out_evenly() -> None:
    cls, arguments = target(next(p for p in FILES if p.stem == "lbtw"))
    balancer = cls(**arguments | {"floor": 0.2})
    assert isinstance(balancer, AdaptiveBalancer)
    weights = balancer.bounded(torch.tensor([4.0, 0.0, 0.0, 0.0], dtype=torch.float64))
    torch.testing.assert_close(weights, torch.tensor([3.4, 0.2, 0.2, 0.2], dtype=torch.float64))
    assert balancer.bounded(torch.zeros(4, dtype=torch.float64)).tolist() == [1.0] * 4


@pytest.mark.parametrize(
    "bad", [{"min_weight": 1.0}, {"min_weight": -0.1}, {"max_weight": 1.0}, {"floor": -0.1}, {"floor": 1.1}]
)
def test_bounds_that_cannot_hold_are_refused(bad: dict[str, float]) -> None:
    cls, arguments = target(next(p for p in FILES if p.stem == "famo"))
    with pytest.raises(ValueError, match=next(iter(bad))):
        cls(**arguments | bad)


def test_a_loss_that_is_not_finite_is_an_absent_task() -> None:
    series = simulate(3, 30, absent=0.0)
    holes, infinite = series.copy(), series.copy()
    holes[5:9, 1], infinite[5:9, 1] = np.nan, np.inf
    for path in FILES:
        if target(path)[0].probe != "none" and not issubclass(target(path)[0], GradientBalancer):
            pairs = []
            for rows in (holes, infinite):
                balancer = build(path, 3)
                for step, row in enumerate(rows):
                    losses = TaskLosses(torch.from_numpy(row).nan_to_num(0.0, posinf=np.inf), losses_of(row).count)
                    if balancer.wants(step) and path.stem != "temperature":
                        balancer.observe(step, losses)
                pairs.append(balancer.weights(30, torch.ones(3, dtype=torch.float64)))
            assert torch.equal(*pairs), path.stem


def test_another_balancers_state_or_other_tasks_are_refused() -> None:
    famo, lbtw = (build(next(p for p in FILES if p.stem == name), 2) for name in ("famo", "lbtw"))
    with pytest.raises(UserError, match=r"FAMO did not write this checkpoint, which has no logits, moments, last"):
        famo.load_state_dict(lbtw.state_dict())
    renamed = build(next(p for p in FILES if p.stem == "famo"), 2)
    renamed.start(["a", "b"])
    with pytest.raises(UserError, match=r"balances \['task0', 'task1'\], this run has the tasks \['a', 'b'\]"):
        renamed.load_state_dict(famo.state_dict())


def test_validation_probes_begin_before_the_first_step_and_training_ones_do_not() -> None:
    for path in FILES:
        balancer = build(path, 2)
        assert balancer.wants(-1) == isinstance(balancer, CoBa)
        assert (balancer.probe == "valid") == (balancer.probe_samples > 0)
