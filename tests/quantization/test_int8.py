"""8 bits: the gradients are those of the dequantised weights, also after an evaluation, and nothing chatters."""

import pytest
import torch
from bitsandbytes.functional import int8_vectorwise_dequant
from bitsandbytes.nn import Linear8bitLt
from small_models import load, preset, save_random, shaken, some_ids


@pytest.fixture(scope="module")
def llama(tmp_path_factory):
    return save_random("llama", tmp_path_factory.mktemp("llama"))


def adapted(llama, quantization, **changes):
    torch.manual_seed(0)
    return shaken(preset("peft/lora", lora_rank=2).adapt(load(llama, quantization=quantization, **changes)))


def step(net) -> tuple[float, torch.Tensor]:
    net.zero_grad()
    loss = net(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss
    loss.backward()
    return loss.item(), torch.cat([p.grad.flatten() for p in net.parameters() if p.requires_grad])


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_gradient_is_that_of_the_dequantised_weights_also_after_an_evaluation(llama, checkpointing):
    net = adapted(llama, preset("quantization/int8"), gradient_checkpointing=checkpointing)
    plain = adapted(llama, None)
    layers = dict(net.named_modules())
    with torch.no_grad():
        for name, module in plain.named_modules():
            if isinstance(layer := layers.get(name), Linear8bitLt):
                scales = layer.weight.SCB if layer.state.SCB is None else layer.state.SCB
                module.weight.copy_(int8_vectorwise_dequant(layer.weight.data, scales))
    first = step(net)
    torch.testing.assert_close(first, step(plain), rtol=1e-4, atol=1e-5)
    net.eval()
    with torch.no_grad():
        evaluated = net(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss.item()
    net.train()
    assert evaluated == pytest.approx(first[0], abs=0.02)  # its activations have 8 bits too
    again = step(net)
    assert again[0] == first[0]
    assert torch.equal(again[1], first[1])


def test_products_do_not_log_a_line_each(llama, caplog):
    net = adapted(llama, preset("quantization/int8")).eval()
    with torch.no_grad():
        net(input_ids=some_ids(), use_cache=False)
    assert not [record for record in caplog.records if "bitsandbytes" in record.name]


def test_the_constructor_refuses_a_negative_threshold():
    with pytest.raises(ValueError, match=r"quantization.threshold: -1"):
        preset("quantization/int8", threshold=-1.0)


@pytest.mark.parametrize(("threshold", "equal"), [(0.0, True), (6.0, False)])
def test_a_sample_is_independent_of_its_neighbours_unless_outliers_are_set_apart(llama, threshold, equal):
    """In evaluation, which takes the kernel on CPUs that training takes on GPUs."""
    net = load(llama, quantization=preset("quantization/int8", threshold=threshold)).eval()
    for module in net.modules():
        if "RMSNorm" in type(module).__name__:
            module.weight.data.mul_(1.8)  # so that single activations are beyond 6, as in trained models
    with torch.no_grad():
        alone = net(input_ids=some_ids(8)[:1], use_cache=False).logits[0]
        beside = net(input_ids=some_ids(8), use_cache=False).logits[0]
    assert bool((alone - beside).abs().max() < 1e-5 * alone.abs().max()) == equal


def test_the_default_is_the_exact_one():
    assert preset("quantization/int8").threshold == 0.0
