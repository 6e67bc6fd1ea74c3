"""What is counted on a model without weights is what the real one takes and keeps."""

from __future__ import annotations

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from mftcoder.cli.config import build, load
from mftcoder.model.forward.attention import use_packed_attention
from mftcoder.model.memory import Outline, outline

LENGTH = 48


def parts(tmp_path_factory: pytest.TempPathFactory, *overrides: str) -> tuple[Any, Any, Any]:
    directory = tmp_path_factory.getbasetemp() / "outlined"
    tree = load("model=tiny", f"model.directory={directory}", *overrides)
    return build(tree["model"]), build(tree["peft"]), build(tree["quantization"])


def real(model: Any, peft: Any, quantization: Any) -> tuple[nn.Module, Any]:
    causal = model.load(quantization, torch.device("cpu"), frozen=peft is not None)
    net = causal if peft is None else peft.adapt(causal)
    use_packed_attention(causal)
    return net, causal


def saved_bytes(net: nn.Module, causal: Any, *, bf16: bool) -> int:
    """All storages that autograd holds on to in a forward pass over a pack of two samples, but for parameters."""
    weights = {p.untyped_storage().data_ptr() for p in (*net.parameters(), *net.buffers())}
    held: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            held[storage.data_ptr()] = storage
        return tensor

    batch = {
        "input_ids": torch.arange(LENGTH)[None],
        "position_ids": torch.arange(LENGTH)[None] % (LENGTH // 2),
        "attention_mask": torch.tensor([0, LENGTH // 2, LENGTH], dtype=torch.int32).view(1, 1, 1, 3),
    }
    precision = torch.autocast("cpu", torch.bfloat16) if bf16 else nullcontext()
    with precision, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = causal.model(**batch, use_cache=False)[0]
    assert output.requires_grad
    return sum(storage.nbytes() for storage in held.values())


def of(found: Any, *, bf16: bool = False) -> Outline:
    return outline(*found, rows=1, length=LENGTH, bf16=bf16)


@pytest.mark.parametrize("checkpointing", ["true", "false"])
@pytest.mark.parametrize("peft", ["lora", "none"])
def test_what_a_forward_pass_keeps(tmp_path_factory: pytest.TempPathFactory, peft: str, checkpointing: str) -> None:
    found = parts(tmp_path_factory, f"peft={peft}", f"model.gradient_checkpointing={checkpointing}")
    net, causal = real(*found)
    counted = of(found)
    # Real attention saves a few numbers a token more or less, as its kernel wants.
    assert counted.kept == pytest.approx(saved_bytes(net, causal, bf16=False), rel=0.03)
    assert counted.trained == sum(p.numel() for p in net.parameters() if p.requires_grad)
    assert counted.frozen_bytes == sum(p.nbytes for p in net.parameters() if not p.requires_grad)


def test_the_layer_that_is_computed_again(tmp_path_factory: pytest.TempPathFactory) -> None:
    checkpointed = of(parts(tmp_path_factory, "peft=lora", "model.gradient_checkpointing=true"))
    plain = of(parts(tmp_path_factory, "peft=lora", "model.gradient_checkpointing=false"))
    assert plain.recomputed == 0
    assert checkpointed.recomputed is not None
    layers = load("model=tiny")["model"]["num_hidden_layers"]
    # Checkpointing has the embeddings require a gradient, which the first layer's input costs.
    assert checkpointed.kept + layers * checkpointed.recomputed == pytest.approx(plain.kept, rel=0.02)


def test_bfloat16_halves_a_frozen_base_and_its_activations(tmp_path_factory: pytest.TempPathFactory) -> None:
    found = parts(tmp_path_factory, "peft=lora")
    whole, half = of(found), of(found, bf16=True)
    assert whole.kept is not None
    assert half.kept is not None
    assert half.frozen_bytes == whole.frozen_bytes / 2
    assert 0.5 <= half.kept / whole.kept < 0.7  # norms compute in float32
    assert half.trained == whole.trained


@pytest.mark.parametrize("quantization", ["nf4", "int8"])
def test_a_quantised_base(tmp_path_factory: pytest.TempPathFactory, quantization: str) -> None:
    found = parts(tmp_path_factory, "peft=qlora", f"quantization={quantization}")
    net, _ = real(*found)
    held = sum(p.nbytes for p in net.parameters() if not p.requires_grad)
    # The scales are no parameters: .127 bits a weight in 4-bit layers, a number a row in 8-bit ones.
    assert of(found).frozen_bytes == pytest.approx(held, rel=0.01)


def test_an_architecture_whose_experts_take_what_they_get(tmp_path: Path) -> None:
    from transformers import MixtralConfig

    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": 100}
    MixtralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4).save_pretrained(tmp_path)
    tree = load("model=path", f"model.pretrained_model_path={tmp_path}", "peft=none")
    found = outline(build(tree["model"]), None, None, rows=1, length=LENGTH, bf16=True)
    assert found.architecture == "MixtralForCausalLM"
    assert found.trained == found.layer * 2 + found.rest
    assert found.frozen == 0
