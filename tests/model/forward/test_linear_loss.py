"""The fused loss against the dense one and against hand-written sums."""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from mftcoder.model.forward import linear_loss
from mftcoder.model.forward.linear_loss import (
    Targets,
    Transform,
    _chunk_tokens,
    dense_cross_entropy,
    linear_cross_entropy,
)

M, H, V, T = 37, 12, 53, 4
TRANSFORMS = [Transform(), Transform(scale=0.25), Transform(softcap=3.0), Transform(scale=2.0, softcap=1.5)]


class LoRAHead(nn.Module):
    """A frozen head with a low-rank addition, as PEFT wraps it."""

    def __init__(self) -> None:
        super().__init__()
        self.base = nn.Linear(H, V, bias=False).requires_grad_(False)
        self.a, self.b = nn.Linear(H, 3, bias=False), nn.Linear(3, V, bias=False)

    @property
    def weight(self) -> torch.Tensor:
        return self.base.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.base(x) + 2.0 * self.b(self.a(x))


HEADS = {
    "frozen": lambda: nn.Linear(H, V, bias=False).requires_grad_(False),
    "trainable": lambda: nn.Linear(H, V, bias=False),
    "bias": lambda: nn.Linear(H, V),
    "lora": LoRAHead,
}


def make(dtype: torch.dtype = torch.float64, gamma: float = 0.0, size: int = M) -> tuple[torch.Tensor, Targets]:
    generator = torch.Generator().manual_seed(7)
    hidden = torch.randn(size, H, generator=generator, dtype=torch.float64).to(dtype)
    targets = Targets(
        labels=torch.randint(V, (size,), generator=generator),
        tasks=torch.randint(T - 1, (size,), generator=generator),  # the last task is absent
        units=torch.rand(size, generator=generator, dtype=torch.float64),
        coefficients=torch.tensor([0.5, 0.0, 2.0, 1.0], dtype=torch.float64),
        focal_gamma=gamma,
    )
    return hidden.requires_grad_(), targets


def run(kernel, head, hidden, targets, transform, **options):
    hidden = hidden.detach().requires_grad_()
    head.zero_grad()
    loss, totals = kernel(hidden, head, targets, transform, **options)
    (3.0 * loss).backward()  # an upstream factor, as an engine may put on it
    return loss.detach(), totals, hidden.grad, [p.grad for p in head.parameters() if p.requires_grad]


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize("gamma", [0.0, 2.0])
@pytest.mark.parametrize("head", HEADS)
def test_fused_equals_dense_in_float64(head, gamma, transform):
    torch.manual_seed(0)
    module = HEADS[head]().double()
    hidden, targets = make(gamma=gamma)
    expected = run(dense_cross_entropy, module, hidden, targets, transform)
    for chunk in (1, 5, M, 1000):
        got = run(linear_cross_entropy, module, hidden, targets, transform, chunk_tokens=chunk)
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


def test_dense_is_the_formula():
    torch.manual_seed(0)
    head = nn.Linear(H, V).double()
    hidden, targets = make(gamma=1.5)
    loss, totals = dense_cross_entropy(hidden, head, targets, Transform(scale=0.5, softcap=4.0))
    by_hand, sums = 0.0, [0.0] * T
    for i in range(M):
        z = [4.0 * torch.tanh(0.5 * (head.weight[v] @ hidden[i] + head.bias[v]) / 4.0) for v in range(V)]
        p = torch.exp(z[targets.labels[i]]) / sum(torch.exp(x) for x in z)
        ce, task, unit = -torch.log(p), int(targets.tasks[i]), targets.units[i]
        by_hand += targets.coefficients[task] * unit * (1 - p) ** 1.5 * ce
        sums[task] += float(unit * ce.detach())
    torch.testing.assert_close(loss, by_hand, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(totals, torch.tensor(sums, dtype=torch.float64), rtol=1e-12, atol=1e-12)


def test_gradcheck():
    torch.manual_seed(0)
    head = nn.Linear(H, V).double()
    hidden, targets = make(gamma=2.0, size=5)
    transform = Transform(scale=1.5, softcap=2.0)
    assert torch.autograd.gradcheck(lambda h: linear_cross_entropy(h, head, targets, transform, 2)[0], hidden)


def test_bfloat16_is_within_its_rounding():
    torch.manual_seed(0)
    head = nn.Linear(H, V, bias=False)
    hidden, targets = make(torch.float32)
    exact = run(dense_cross_entropy, head, hidden, targets, Transform())
    rounded = run(linear_cross_entropy, head.bfloat16(), hidden.bfloat16(), targets, Transform())
    assert rounded[0].dtype == torch.float32
    torch.testing.assert_close(rounded[0], exact[0], rtol=2e-2, atol=0)
    torch.testing.assert_close(rounded[2].float(), exact[2], rtol=5e-2, atol=5e-2 * exact[2].abs().max().item())


@pytest.mark.parametrize("gamma", [0.01, 0.3, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("kernel", [linear_cross_entropy, dense_cross_entropy])
def test_tokens_learnt_to_any_degree_have_a_focal_gradient(kernel, gamma):
    """Margins of the right logit from 0 to 1e4: probabilities up to the very 1, where (1 - p) ** (gamma - 1) is not."""
    margins = torch.tensor([0.0, 1.0, 5.0, 10.0, 14.0, 17.0, 30.0, 90.0, 1e3, 1e4], dtype=torch.float64)
    n = len(margins)
    targets = Targets(
        labels=torch.zeros(n, dtype=torch.long),
        tasks=torch.zeros(n, dtype=torch.long),
        units=torch.ones(n),
        coefficients=torch.ones(1),
        focal_gamma=gamma,
    )
    by_accuracy = []
    for dtype in (torch.float32, torch.float64):
        head = nn.Linear(1, 2, bias=False).to(dtype)
        head.weight.data = torch.tensor([[1.0], [0.0]], dtype=dtype)
        by_accuracy.append(run(kernel, head, margins[:, None].to(dtype), targets, Transform()))
    single, double = by_accuracy
    x = margins.clone().requires_grad_()
    miss, ce = torch.sigmoid(-x), nn.functional.softplus(-x)
    slope = miss**gamma * (1 + gamma * torch.sigmoid(x) * torch.where(miss > 0, ce / miss, 1.0))
    torch.testing.assert_close(double[2][:, 0], -3.0 * (slope * miss).detach(), rtol=1e-9, atol=1e-15)
    torch.testing.assert_close(single[0].double(), double[0], rtol=1e-5, atol=0)
    torch.testing.assert_close(single[2].double(), double[2], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(single[3][0].double(), double[3][0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel", [linear_cross_entropy, dense_cross_entropy])
def test_nothing_supervised_is_a_zero_tied_to_every_parameter(kernel):
    head = nn.Linear(H, V).double()
    hidden, targets = make(size=0)
    loss, totals, grad, grads = run(kernel, head, hidden, targets, Transform())
    assert loss == 0
    assert totals.tolist() == [0.0] * T
    assert grad is not None
    assert all(g is not None and not g.any() for g in grads)


def test_a_frozen_head_gets_no_gradient_and_no_grad_mode_computes_none():
    head = HEADS["frozen"]().double()
    hidden, targets = make()
    run(linear_cross_entropy, head, hidden, targets, Transform())
    assert head.weight.grad is None
    with torch.no_grad():
        loss, totals = linear_cross_entropy(hidden, head, targets, Transform())
    assert not loss.requires_grad
    torch.testing.assert_close(totals, dense_cross_entropy(hidden, head, targets, Transform())[1])


@pytest.mark.parametrize(("device", "budget"), [("cpu", 64 * 2**20), ("cuda", 256 * 2**20)])
def test_a_chunk_is_the_same_whatever_memory_is_free(device, budget, monkeypatch):
    """Else the sums of two runs on one machine would be in another order."""

    def asked(*_):
        raise AssertionError("the free memory was asked for")

    monkeypatch.setattr(torch.cuda, "mem_get_info", asked)
    with FakeTensorMode():
        hidden = torch.empty(9, H, device=device)
        for vocabulary, tokens in ((1000, budget // 4000), (10**9, 16)):
            head = SimpleNamespace(weight=torch.empty(vocabulary, H, device=device))
            assert _chunk_tokens(head, hidden) == tokens


def test_logits_never_exist_at_once():
    """The largest tensor that the kernel makes has a chunk's rows, not the batch's."""
    head = HEADS["frozen"]().double()
    hidden, targets = make(size=200)
    largest = 0

    class Spy(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            nonlocal largest
            out = func(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                largest = max(largest, out.numel())
            return out

    with Spy():
        linear_cross_entropy(hidden, head, targets, Transform(), 8)[0].backward()
    assert largest < 200 * V / 4


def test_without_a_gradient_to_take_the_head_computes_none(monkeypatch):
    """Also where it trains, as in a validation of a fully trained model."""
    asked = []
    chunk = linear_loss._chunk
    monkeypatch.setattr(linear_loss, "_chunk", lambda *a, need: (asked.append(need), chunk(*a, need=need))[1])
    head = torch.nn.Linear(8, 32)
    ones = torch.ones(4, dtype=torch.float64)
    targets = linear_loss.Targets(torch.arange(4), torch.zeros(4, dtype=torch.long), ones, ones[:1])
    with torch.no_grad():
        loss, totals = linear_loss.linear_cross_entropy(torch.randn(4, 8), head, targets, linear_loss.Transform())
    assert asked == [False]
    assert not loss.requires_grad
    assert float(totals) == pytest.approx(float(loss))
    linear_loss.linear_cross_entropy(torch.randn(4, 8), head, targets, linear_loss.Transform())[0].backward()
    assert asked == [False, True]
    assert head.weight.grad.abs().sum() > 0
