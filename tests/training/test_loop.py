"""The promise of the project: a global batch gives the same step however it is split."""

from collections.abc import Iterator
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM

from mftcoder.balancer.base import Balancer
from mftcoder.balancer.focal import Focal
from mftcoder.core.batch import Sample
from mftcoder.data.stream.micro_batches import MicroBatcher
from mftcoder.engine.single import Single
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.objective.sft import SFT
from mftcoder.training.loop import Trainer, steps
from mftcoder.training.monitoring.validation import Validator

TASKS = ["large", "small", "single_token", "absent"]
SIZES = {0: 15, 1: 8, 2: 1}
VOCABULARY, STEPS = 24, 3
BALANCERS = sorted(p.stem for p in (Path(__file__).parents[2] / "conf/balancer").glob("*.yaml"))
# Adaptive methods shall act within three steps; a weight for each task tells them apart.
SETTINGS = {
    "task_weights": [3.0, 1.0, 0.5, 2.0],
    "coba_warmup_steps": 1,
    "coba_history_length": 2,
    "coba_update_interval": 1,
    "window_steps": 1,
}
CLOSEST = {"coba_original": {"coba_warmup_steps": 3, "coba_history_length": 3}}  # it refuses less


def make_samples(seed: int) -> list[Sample]:
    rng = np.random.default_rng(seed)
    samples = []
    for task, size in SIZES.items():
        for index in range(size):
            length = int(rng.integers(3, 9))
            supervised = np.zeros(length, bool)
            supervised[-1 if task == 2 else slice(int(rng.integers(1, length)), None)] = True
            samples.append(Sample(rng.integers(3, VOCABULARY, length, dtype=np.int32), supervised, task, index))
    return [samples[i] for i in rng.permutation(len(samples))]


class Held:
    """A split that lies in memory."""

    def __init__(self, samples: list[Sample]) -> None:
        self.by_task = [[s for s in samples if s.task == t] for t in range(len(TASKS))]
        self.num_tasks = len(TASKS)

    def num_samples(self, task: int) -> int:
        return len(self.by_task[task])

    def lengths(self, task: int) -> np.ndarray:
        return np.array([len(s) for s in self.by_task[task]], np.int32)

    def sample(self, task: int, index: int) -> Sample:
        return self.by_task[task][index]


class Recording(Single):
    """Keeps the gradient that each step is taken with."""

    def step(self) -> None:
        self.gradients = [*getattr(self, "gradients", []), torch.cat([p.grad.flatten() for p in self.parameters()])]
        super().step()


def make_balancer(name: str) -> Balancer:
    node = OmegaConf.load(Path(__file__).parents[2] / f"conf/balancer/{name}.yaml")
    node = OmegaConf.merge(node, {k: v for k, v in SETTINGS.items() if k in node}, CLOSEST.get(name, {}))
    return instantiate(OmegaConf.create({"seed": 0, "balancer": node}).balancer, _convert_="all")


def make_trainer(
    balancer: Balancer, *, mode="padding", kernel="dense", reduction="token", normalization="step"
) -> Trainer:
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY, hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=1, max_position_embeddings=16, pad_token_id=0, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    net = LlamaForCausalLM(config).double()
    engine = Recording(device="cpu", mixed_precision="no", num_processes=1)
    engine.start(seed=0)
    engine.prepare(
        LossModel(net, loss_kernel=kernel, packed=mode == "pack"), lambda m: torch.optim.SGD(m.parameters(), lr=0.5)
    )
    objective = SFT(reduction=reduction, normalization=normalization, loss_kernel=kernel)
    batcher = MicroBatcher(padding_mode=mode, pad_id=0, rank=0, ranks=1)
    held = Held(make_samples(99))
    validator = Validator(
        engine=engine,
        model=engine.model,
        split=held,
        batcher=batcher,
        tokens_per_batch=30,
        samples_per_task=None,
        trained=[True] * len(TASKS),
    )
    balancer.start(TASKS)
    trainer = Trainer(
        engine=engine,
        objective=objective,
        balancer=balancer,
        batcher=batcher,
        learning_rate=lambda peak, step: peak,
        max_grad_norm=1.0,
        priors=lambda: torch.tensor([1.0, 2.0, 1.0, 1.0], dtype=torch.float64),
        expected=lambda: None if normalization == "step" else torch.tensor([30.0, 20.0, 2.0, 1.0], dtype=torch.float64),
        probe=validator.probe,
        diagnostics_steps=None,
    )
    trainer.observe(-1)
    return trainer


def run(trainer: Trainer, micro_batch: int) -> Iterator[tuple[float, Tensor, Tensor, Tensor]]:
    """Loss, per-task losses, weights and gradient of each step."""
    batches = iter(range(STEPS))

    def take() -> list[list[Sample]]:
        samples = make_samples(next(batches))
        return [samples[at : at + micro_batch] for at in range(0, len(samples), micro_batch)]

    for report, number in zip(steps(trainer, 0, STEPS, take), range(STEPS), strict=True):
        yield report.loss, report.losses.mean, report.weights, trainer.engine.gradients[number]


@pytest.mark.parametrize("name", BALANCERS)
def test_every_split_gives_the_same_step(name):
    for reduction, normalization in product(["token", "sample"], ["step", "expected"]):
        options = {"reduction": reduction, "normalization": normalization}
        expected = list(run(make_trainer(make_balancer(name), **options), 24))
        for mode, kernel, micro_batch in product(["padding", "pack"], ["dense", "fused"], [24, 8, 3, 1]):
            trainer = make_trainer(make_balancer(name), mode=mode, kernel=kernel, **options)
            for got, wanted in zip(run(trainer, micro_batch), expected, strict=True):
                torch.testing.assert_close(got, wanted, rtol=1e-12, atol=1e-12, equal_nan=True)


@pytest.mark.parametrize("reduction", ["token", "sample"])
def test_the_step_is_the_formula(reduction):
    """Loss and gradient against a transcription of the objective, one dialogue at a time through the bare model."""
    trainer = make_trainer(make_balancer("equal"), reduction=reduction)
    trainer.max_grad_norm = None
    net, samples = trainer.engine.model.causal, make_samples(0)
    weights, sums, counts = [1.0, 2.0, 1.0], [0.0] * 3, [0.0] * 3
    for sample in samples:
        ids = torch.from_numpy(sample.ids.astype(np.int64))
        log_p = torch.log_softmax(net(ids[None]).logits[0], dim=-1)
        ce = [-log_p[i - 1, ids[i]] for i in range(1, len(ids)) if sample.supervised[i]]
        sums[sample.task] += sum(ce) if reduction == "token" else sum(ce) / len(ce)
        counts[sample.task] += len(ce) if reduction == "token" else 1
    loss = sum(w * s / n for w, s, n in zip(weights, sums, counts, strict=True)) / sum(weights)
    gradient = torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.parameters()))])
    report = trainer.step(0, [samples])
    assert report.loss == pytest.approx(loss.item(), abs=1e-13)
    torch.testing.assert_close(trainer.engine.gradients[0], gradient, rtol=1e-12, atol=1e-13)
    assert report.losses.mean[:3].tolist() == pytest.approx([(s / n).item() for s, n in zip(sums, counts, strict=True)])
    assert report.losses.mean[3].isnan()
    assert report.grad_norm == pytest.approx(gradient.norm().item())


def test_gradients_by_task_add_up_and_are_measured():
    """A diagnostics step moves the parameters as any other, and knows the norms and cosines of its parts."""
    plain, measured = (make_trainer(make_balancer("equal")) for _ in range(2))
    measured.diagnostics_steps = 1
    first, second = (next(run(t, 8)) for t in (plain, measured))
    torch.testing.assert_close(second, first, rtol=1e-12, atol=1e-12, equal_nan=True)
    report = measured.step(1, [make_samples(1)])
    assert report.gradients.shape == (4, sum(p.numel() for p in measured.engine.parameters()))
    assert not report.gradients[3].any()


def test_a_step_that_is_not_finite_changes_nothing():
    trainer = make_trainer(make_balancer("equal"))
    before = [p.clone() for p in trainer.engine.parameters()]
    with torch.no_grad():
        trainer.engine.model.causal.lm_head.weight[3, 0] = torch.nan
    report = trainer.step(0, [make_samples(0)])
    assert report.skipped
    assert trainer.effective.steps == 0
    with torch.no_grad():
        trainer.engine.model.causal.lm_head.weight[3, 0] = before[-1][3, 0]
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.engine.parameters(), strict=True))
    assert all(p.grad is None for p in trainer.engine.parameters())


def test_tasks_by_themselves_run_in_few_micro_batches():
    """15, 8, 1 and no samples in three micro-batches of 8: regrouped, not each micro-batch cut by task."""
    trainer, samples = make_trainer(make_balancer("pcgrad")), make_samples(0)
    micro_batches = [samples[at : at + 8] for at in range(0, 24, 8)]
    batches = trainer._batches(micro_batches, by_task=True)
    assert [len(own) for own in batches][2:] == [1, 0]
    assert sum(len(own) for own in batches) <= 6
    assert max(int(b.lengths.sum()) for own in batches for b in own) <= max(sum(map(len, m)) for m in micro_batches)
    for task, own in enumerate(batches):
        assert sum(len(b.tasks) for b in own) == SIZES.get(task, 0)
        assert all((b.tasks == task).all() for b in own)


def test_a_measured_step_reports_the_focal_loss_as_any_other():
    focal = {"level": "sample", "gamma": 2.0, "smoothing": 1.0, "min_weight": 0.0, "max_weight": None, "floor": 0.0}
    plain, measured = (make_trainer(Focal(**focal)) for _ in range(2))
    measured.diagnostics_steps = 1
    first, second = (next(run(t, 8)) for t in (plain, measured))
    torch.testing.assert_close(second, first, rtol=1e-12, atol=1e-12, equal_nan=True)


def test_a_step_of_tasks_without_weight_moves_nothing_whatever_the_momentum():
    trainer = make_trainer(make_balancer("equal"))
    trainer.engine.optimizer = torch.optim.AdamW(trainer.engine.parameters(), lr=0.1, weight_decay=0.1)
    trainer.peaks = [0.1]
    trainer.step(0, [make_samples(0)])
    before = [p.clone() for p in trainer.engine.parameters()]
    trainer.priors = lambda: torch.tensor([0.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    report = trainer.step(1, [[s for s in make_samples(1) if s.task != 1]])
    assert not report.skipped
    assert all(torch.equal(a, b) for a, b in zip(before, trainer.engine.parameters(), strict=True))
    trainer.step(2, [make_samples(2)])
    assert not torch.equal(before[0], next(iter(trainer.engine.parameters())))


def test_effective_weights_of_gradient_surgery_are_what_the_combination_came_to():
    """Each task's gradient by its effective weight is the gradient of the step, which for PCGrad the priors are not."""
    trainer = make_trainer(make_balancer("pcgrad"))
    trainer.max_grad_norm = None
    report = trainer.step(0, [make_samples(0)])
    direction = trainer.effective.realised @ report.gradients
    torch.testing.assert_close(direction, trainer.engine.gradients[0], rtol=1e-12, atol=1e-13)
