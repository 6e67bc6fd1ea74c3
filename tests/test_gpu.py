"""What is proved on the CPU elsewhere, once more where it has kernels of its own: on CUDA, in bf16, in 4 bits."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from small_models import load, preset, save_random, shaken
from torch import nn

from mftcoder.core.batch import Sample
from mftcoder.core.coefficients import TokenWeights
from mftcoder.data.stream.collate import collate
from mftcoder.model.forward.linear_loss import Targets, Transform, dense_cross_entropy, linear_cross_entropy
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.training.monitoring.metrics import peak_memory

DEVICE = "cuda"
ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")]
needs_two = pytest.mark.skipif(torch.cuda.device_count() < 2, reason="needs two CUDA devices")
needs_flash = pytest.mark.skipif(find_spec("flash_attn") is None, reason="needs flash-attn")
ROUNDING = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # of the largest value, over sums of some hundred terms


def apart(got: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest difference, as a part of the largest value."""
    return float((got.detach().cpu().double() - expected).abs().max() / expected.abs().max())


def samples(lengths: tuple[int, ...] = (40, 3, 77, 20)) -> list[Sample]:
    rng = np.random.default_rng(0)
    return [Sample(rng.integers(0, 250, n, dtype=np.int32), np.ones(n, bool), i % 2, i) for i, n in enumerate(lengths)]


@pytest.mark.parametrize("dtype", ROUNDING, ids=str)
def test_the_fused_loss_is_the_dense_one_of_the_cpu(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    hidden, head = torch.randn(300, 64).to(dtype), nn.Linear(64, 1000, bias=False).to(dtype)
    targets = Targets(torch.randint(1000, (300,)), torch.randint(3, (300,)), torch.rand(300), torch.tensor([1.0, 0, 2]))
    found = []
    for kernel, device, accuracy in (
        (dense_cross_entropy, "cpu", torch.float64),
        (linear_cross_entropy, DEVICE, dtype),
    ):
        x, module = hidden.to(device, accuracy).requires_grad_(), nn.Linear(64, 1000, bias=False)
        module.load_state_dict(head.state_dict())
        module.to(device, accuracy)
        own = Targets(*(t.to(device) for t in (targets.labels, targets.tasks, targets.units, targets.coefficients)))
        loss, totals = kernel(x, module, own, Transform())
        loss.backward()
        found.append((loss, totals, x.grad, module.weight.grad))
    for got, expected in zip(found[1], found[0], strict=True):
        assert apart(got, expected.detach().double()) < ROUNDING[dtype]


@pytest.mark.parametrize("attention", ["sdpa", pytest.param("flash_attention_2", marks=needs_flash)])
def test_packed_samples_do_not_see_each_other(tmp_path: Path, attention: str) -> None:
    directory = save_random("llama", tmp_path / "llama")
    dtype = "float32" if attention == "sdpa" else "bfloat16"
    net = load(directory, dtype=dtype, attn_implementation=attention).to(DEVICE)
    model = LossModel(net, loss_kernel="fused", packed=True)

    def logits(some: list[Sample]) -> torch.Tensor:
        return model.logits(collate(some, padding_mode="pack", pad_id=0).to(torch.device(DEVICE))).double().cpu()

    assert apart(logits(samples()), torch.cat([logits([s]) for s in samples()])) < ROUNDING[net.dtype]


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_lora_over_a_quantised_base_learns(tmp_path: Path, quantization: str) -> None:
    directory = save_random("llama", tmp_path / "llama")
    engine = preset("engine/single", device=DEVICE, mixed_precision="auto")
    engine.start(seed=0)
    model = preset("model/path", pretrained_model_path=str(directory))
    net = model.load(preset(f"quantization/{quantization}"), engine.device, frozen=True)
    whole = LossModel(shaken(preset("peft/lora").adapt(net)), loss_kernel="fused", packed=True)
    engine.prepare(whole, lambda m: torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=1e-2))
    batch = collate(samples(), padding_mode="pack", pad_id=0).to(engine.device)
    float64 = {"dtype": torch.float64, "device": engine.device}
    units, ones = torch.ones(4, **float64), torch.ones(2, **float64) / 140
    losses = []
    for _ in range(20):
        with engine.micro_batch(last=True):
            loss, _ = engine.model(batch, units, TokenWeights(ones))
            engine.backward(loss)
        engine.clip(1.0)
        engine.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.5
    assert peak_memory(engine.device) > 0


def first_steps(run_dir: Path, *overrides: str) -> list[float]:
    """Training losses of three steps of the tiny model, from the command line."""
    shape = ["debug=fast", "training.max_train_steps=3", "training.log_interval=1", "training.evaluate_first=false"]
    words = ["model=tiny", *shape, f"engine.device={DEVICE}", f"hydra.run.dir={run_dir}", *overrides]
    subprocess.run([sys.executable, str(ROOT / "launch.py"), *words], cwd=ROOT, check=True, timeout=600)
    lines = [json.loads(line) for line in (run_dir / "metrics.jsonl").read_text().splitlines()]
    return [line["train/loss"] for line in lines]


@pytest.mark.slow
@needs_two
@pytest.mark.parametrize("engine", ["ddp", "zero1", "zero2", "zero3", "fsdp2"])
def test_two_gpus_take_the_steps_of_one(tmp_path: Path, engine: str) -> None:
    alone = first_steps(tmp_path / "one", "training.per_device_train_batch_size=2")
    both = first_steps(tmp_path / "two", f"engine={engine}", "engine.num_processes=2")
    assert both == pytest.approx(alone, rel=5e-3)


@pytest.mark.slow
@needs_two
def test_two_gpus_share_rows(tmp_path: Path) -> None:
    alone = first_steps(tmp_path / "one")
    both = first_steps(tmp_path / "two", "engine=ddp", "engine.num_processes=2", "engine.context_parallel=2")
    assert both == pytest.approx(alone, rel=5e-3)
