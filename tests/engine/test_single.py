import inspect
import random
from pathlib import Path
from typing import Any

import bitsandbytes as bnb
import pytest
import torch
import yaml
from torch import nn

from mftcoder.engine.base import MakeOptimizer
from mftcoder.engine.device import choose_device
from mftcoder.engine.single import Single
from mftcoder.storage import serialize


def adamw(model: nn.Module) -> torch.optim.Optimizer:
    weights = [p for name, p in model.named_parameters() if p.requires_grad and name.endswith("weight")]
    biases = [p for name, p in model.named_parameters() if p.requires_grad and name.endswith("bias")]
    return torch.optim.AdamW(
        [{"params": weights, "weight_decay": 0.1}, {"params": biases, "weight_decay": 0.0}], lr=0.1
    )


def adamw8bit(model: nn.Module) -> torch.optim.Optimizer:
    return bnb.optim.AdamW8bit([p for p in model.parameters() if p.requires_grad], lr=0.1, min_8bit_size=16)


def started(make_optimizer: MakeOptimizer = adamw, **changes: Any) -> Single:
    engine = Single(**{"device": "cpu", "mixed_precision": "no", "num_processes": 1, **changes})
    engine.start(seed=5)
    model = nn.Sequential(nn.Linear(4, 32), nn.Linear(32, 4), nn.Linear(4, 1))
    model[0].requires_grad_(False)
    engine.prepare(model, make_optimizer)
    return engine


def train(engine: Single, steps: int) -> None:
    for _ in range(steps):
        with engine.micro_batch(last=True):
            engine.backward(engine.model(torch.randn(8, 4)).square().mean())
        engine.step()


def test_yaml_lists_every_parameter() -> None:
    keys = set(yaml.safe_load(Path("conf/engine/single.yaml").read_text())) - {"_target_"}
    assert keys == set(inspect.signature(Single).parameters)


def test_more_processes_are_refused_with_the_remedy() -> None:
    with pytest.raises(ValueError, match="num_processes: 2, but engine=single runs one process; take engine=ddp"):
        Single(device="cpu", mixed_precision="no", num_processes=2)


@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without CUDA")
def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"engine\.device: cuda is not available, only cpu"):
        choose_device("cuda")


def test_gradients_are_summed_and_cleared_by_step_and_discard() -> None:
    engine = started()
    x = torch.randn(6, 4)
    with engine.micro_batch(last=True):
        engine.backward(engine.model(x).sum())
    whole = [p.grad.clone() for p in engine.parameters() if p.grad is not None]
    engine.discard()
    assert all(p.grad is None for p in engine.parameters())
    for part in (x[:1], x[1:]):
        with engine.micro_batch(last=part is not x[:1]):
            engine.backward(engine.model(part).sum())
    for gradient, p in zip(whole, engine.parameters(), strict=True):
        torch.testing.assert_close(p.grad, gradient)
    before = engine.weights()
    engine.step()
    assert all(p.grad is None for p in engine.parameters())
    assert any(not torch.equal(before[name], w) for name, w in engine.weights().items())


def test_clip_gives_the_norm_before_and_leaves_the_limit() -> None:
    engine = started()
    with engine.micro_batch(last=True):
        engine.backward(engine.model(torch.randn(8, 4)).sum() * 100)
    norm = engine.clip(None)
    assert norm == engine.clip(1.0) > 1
    assert engine.clip(1.0) == pytest.approx(1.0, rel=1e-6)


@pytest.mark.parametrize("make_optimizer", [adamw, adamw8bit])
def test_weights_and_optimizer_state_by_name_continue_to_the_bit(make_optimizer: MakeOptimizer) -> None:
    engine = started(make_optimizer)
    train(engine, 3)
    weights, state = serialize.decode(serialize.encode([engine.weights(), engine.state_dict()]))
    trained = ["1.weight", "1.bias", "2.weight", "2.bias"]
    assert list(weights) == trained
    assert sorted(state) == sorted(trained)
    other = started(make_optimizer)
    for group in other.optimizer.param_groups:
        group["lr"] = 0.05  # settings are the configuration's, not the checkpoint's
    other.load_weights(weights)
    other.load_state_dict(state)
    assert all(group["lr"] == 0.05 for group in other.optimizer.param_groups)
    for group in other.optimizer.param_groups:
        group["lr"] = 0.1
    for run in (engine, other):
        torch.manual_seed(0)
        train(run, 2)
    assert all(torch.equal(other.weights()[name], w) for name, w in engine.weights().items())


def test_the_8_bit_state_was_8_bit() -> None:
    engine = started(adamw8bit)
    train(engine, 1)
    quantised = serialize.encode(engine.state_dict()["1.weight"]).tensors
    assert any(name.endswith("state1") and t.dtype == torch.uint8 for name, t in quantised.items())


def test_weights_are_copies() -> None:
    engine = started()
    weights = engine.weights()
    train(engine, 1)
    assert not torch.equal(weights["2.bias"], engine.weights()["2.bias"])


def test_wrong_weights_are_refused_whole() -> None:
    engine = started()
    weights = {**engine.weights(), "0.weight": torch.zeros(1), "2.bias": torch.zeros(3)}
    del weights["1.bias"]
    with pytest.raises(
        ValueError, match=r"1.bias: missing\n2.bias: shape \[3\] instead of \[1\]\n0.weight: not a trained"
    ):
        engine.load_weights(weights)


def test_state_of_unknown_parameters_is_refused() -> None:
    with pytest.raises(ValueError, match=r"this run does not train: 0.weight"):
        started().load_state_dict({"0.weight": {}})


def test_the_seed_fixes_what_follows_prepare_however_the_model_was_built() -> None:
    draws = []
    for extra in (0, 7):
        engine = Single(device="cpu", mixed_precision="no", num_processes=1)
        engine.start(seed=5)
        torch.randn(extra)
        random.random()
        engine.prepare(nn.Linear(1, 1), lambda m: torch.optim.SGD(m.parameters()))
        draws.append([torch.randn(3).tolist(), random.random()])
    assert draws[0] == draws[1]


@pytest.mark.parametrize(
    ("choice", "dtype"), [("no", torch.float32), ("auto", torch.float32), ("bf16", torch.bfloat16)]
)
def test_mixed_precision(choice: str, dtype: torch.dtype) -> None:
    engine = started(mixed_precision=choice)
    with engine.autocast():
        assert engine.model(torch.randn(1, 4)).dtype == dtype
    with engine.micro_batch(last=True):
        assert engine.model(torch.randn(1, 4)).dtype == dtype


def test_one_process_is_its_own_company() -> None:
    engine = started()
    assert (engine.rank, engine.world_size) == (0, 1)
    assert engine.share("x") == "x"
    assert engine.gather("x") == ["x"]
    assert torch.equal(engine.sum(torch.ones(2)), torch.ones(2))
    engine.finish()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu() -> None:
    engine = started(device="cuda", mixed_precision="auto")
    with engine.micro_batch(last=True):
        output = engine.model(torch.randn(2, 4, device=engine.device))
        engine.backward(output.float().sum())
    assert output.is_cuda
    assert engine.clip(1.0) > 0
    engine.step()
    assert all(w.device.type == "cpu" for w in engine.weights().values())
