"""The fused layer against PEFT's own, in values and gradients; and who computes it when it is not the plain case."""

import copy

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import Linear
from small_models import shaken
from torch import nn
from torch.utils.checkpoint import checkpoint

from mftcoder.peft.fused_lora import FusedLinear, _LowRankLinear, fuse


class Net(nn.Module):
    def __init__(self, dtype: torch.dtype, *, bias: bool = True) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first = nn.Linear(12, 20, bias=bias, dtype=dtype)
        self.second = nn.Linear(20, 7, bias=bias, dtype=dtype)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(torch.tanh(self.first(x)))


def pair(dtype: torch.dtype = torch.float64, *, with_bias: bool = True, **changes) -> tuple[nn.Module, nn.Module]:
    """The same adapted network as PEFT computes it, and fused."""
    options = {"r": 3, "lora_alpha": 5, "target_modules": ["first", "second"], **changes}
    own = shaken(get_peft_model(Net(dtype, bias=with_bias), LoraConfig(**options)))
    fused = copy.deepcopy(own)
    fuse(fused)
    return own, fused


def inputs(dtype: torch.dtype = torch.float64, *, grad: bool = True) -> torch.Tensor:
    return torch.randn(2, 9, 12, dtype=dtype, generator=torch.Generator().manual_seed(1)).requires_grad_(grad)


def outcome(net: nn.Module, x: torch.Tensor) -> list[torch.Tensor]:
    """Output and all gradients."""
    x = x.detach().requires_grad_(x.requires_grad)
    out = net(x)
    torch.manual_seed(2)
    (out * torch.randn_like(out)).sum().backward()
    grads = [p.grad for p in net.parameters() if p.requires_grad]
    assert all(g is not None for g in grads)
    return [out.detach(), *grads, *([x.grad] if x.requires_grad else [])]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One entry for each layer that was computed as one function."""
    seen: list[int] = []
    apply = _LowRankLinear.apply

    def spy(*args):
        seen.append(1)
        return apply(*args)

    monkeypatch.setattr(_LowRankLinear, "apply", spy)
    return seen


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("grad", [True, False])
def test_values_and_gradients_in_float64(bias, grad, calls):
    own, fused = pair(with_bias=bias)
    expected = outcome(own, inputs(grad=grad))
    torch.testing.assert_close(outcome(fused, inputs(grad=grad)), expected, rtol=1e-12, atol=1e-12)
    assert len(calls) == 2


def test_gradcheck():
    _, fused = pair()
    layer = fused.base_model.model.first
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight

    def compute(x, a, b):
        return _LowRankLinear.apply(x, layer.weight, layer.bias, a, b, 0.7, torch.float64)

    assert torch.autograd.gradcheck(compute, (inputs(), a, b))


def test_gradient_checkpointing():
    own, fused = pair()
    expected = outcome(own, inputs())
    got = outcome(_Checkpointed(fused), inputs())
    torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-12)


class _Checkpointed(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return checkpoint(self.inner, x, use_reentrant=False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_under_autocast_within_the_rounding_of_bfloat16(dtype, calls):
    """Also with a base in bfloat16 under adapters in float32, as on a GPU."""
    own, fused = pair(dtype)
    for net in (own, fused):
        for name, parameter in net.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()
    with torch.autocast("cpu", torch.bfloat16):
        expected, got = outcome(own, inputs(torch.float32)), outcome(fused, inputs(torch.float32))
    assert len(calls) == 2
    assert [t.dtype for t in got] == [t.dtype for t in expected]
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.02 * float(other.abs().max()))


def test_without_gradients():
    own, fused = pair()
    with torch.no_grad():
        torch.testing.assert_close(fused(inputs()), own(inputs()), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "changes",
    [
        {"use_dora": True},
        {"bias": "lora_only"},
        {"lora_bias": True},
        {"lora_dropout": 0.5},
    ],
    ids=str,
)
def test_what_is_not_plain_stays_with_peft(changes, calls):
    own, fused = pair(**changes)
    results = []
    for net in (own, fused):
        torch.manual_seed(3)
        results.append(outcome(net, inputs()))
    torch.testing.assert_close(*results, rtol=1e-12, atol=1e-12)
    assert not calls


def test_dropout_is_nothing_in_evaluation(calls):
    own, fused = pair(lora_dropout=0.5)
    torch.testing.assert_close(fused.eval()(inputs()), own.eval()(inputs()), rtol=1e-12, atol=1e-12)
    assert len(calls) == 2


def test_mixed_precision_without_autocast_stays_with_peft(calls):
    own, fused = pair(torch.bfloat16)
    for net in (own, fused):
        for name, parameter in net.named_parameters():
            if "lora_" in name:
                parameter.data = parameter.data.float()
    assert torch.equal(fused(inputs(torch.bfloat16)), own(inputs(torch.bfloat16)))
    assert not calls


def test_hooks_on_the_parts_are_called(calls):
    _, fused = pair()
    called = []
    for module in fused.modules():
        if type(module) is nn.Linear:
            module.register_forward_pre_hook(lambda module, _: called.append(module))
    fused(inputs())
    assert len(called) == 6
    assert not calls


def test_a_base_that_trains_stays_with_peft(calls):
    own, fused = pair()
    for net in (own, fused):
        net.base_model.model.first.base_layer.weight.requires_grad_(True)
    torch.testing.assert_close(outcome(fused, inputs()), outcome(own, inputs()), rtol=1e-12, atol=1e-12)
    assert len(calls) == 1


def test_it_stays_pefts_layer():
    own, fused = pair()
    layers = [m for m in fused.modules() if isinstance(m, Linear)]
    assert [type(m) for m in layers] == [FusedLinear] * 2
    assert fused.state_dict().keys() == own.state_dict().keys()
    before = fused(inputs())
    with fused.disable_adapter():
        torch.testing.assert_close(fused(inputs()), Net(torch.float64)(inputs()), rtol=1e-12, atol=1e-12)
    fused.merge_adapter()
    torch.testing.assert_close(fused(inputs()), before, rtol=1e-12, atol=1e-12)
    fused.unmerge_adapter()
    torch.testing.assert_close(fused(inputs()), before, rtol=1e-12, atol=1e-12)
    merged = fused.merge_and_unload()
    assert not any(isinstance(m, Linear) for m in merged.modules())
    torch.testing.assert_close(merged(inputs()), before, rtol=1e-12, atol=1e-12)
