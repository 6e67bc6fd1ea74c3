"""LoRA: where the adapters go, what they compute, in which dtype, and what is refused."""

import logging
import math

import pytest
import torch
from small_models import load, preset, save_random, shaken, some_ids
from torch import nn

from mftcoder.core.errors import UserError


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A directory with a random model, by family."""
    made = {}

    def get(family):
        if family not in made:
            made[family] = save_random(family, tmp_path_factory.mktemp(family))
        return made[family]

    return get


def trained(net) -> dict[str, nn.Parameter]:
    return {name: p for name, p in net.named_parameters() if p.requires_grad}


@pytest.mark.parametrize("family", ["llama", "qwen2", "gpt_bigcode", "gpt_neox", "phi"])
def test_null_adapts_every_linear_layer_but_the_head(models, family):
    net = load(models(family))
    head = net.get_output_embeddings()
    linear = {name for name, m in net.named_modules() if isinstance(m, nn.Linear) and m is not head}
    adapted = preset("peft/lora").adapt(net)
    found = {name.partition(".lora_")[0].removeprefix("base_model.model.") for name in trained(adapted)}
    assert found == linear


@pytest.mark.parametrize(("use_rslora", "scale"), [(False, 6 / 3), (True, 6 / math.sqrt(3))])
def test_an_adapted_layer_computes_the_formula(models, use_rslora, scale):
    net = load(models("llama"), dtype="float64")
    lora = preset("peft/lora", lora_rank=3, lora_alpha=6, target_modules=["q_proj"], use_rslora=use_rslora)
    layer = shaken(lora.adapt(net)).base_model.model.model.layers[1].self_attn.q_proj
    x = torch.randn(5, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    a, b = layer.lora_A["default"].weight, layer.lora_B["default"].weight
    assert (a.shape, b.shape, a.dtype) == ((3, 64), (64, 3), torch.float64)
    torch.testing.assert_close(layer(x), x @ layer.weight.T + scale * x @ a.T @ b.T, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_fresh_adapter_changes_nothing_and_trains_in_float32(models, dtype):
    net = load(models("llama"), dtype=dtype)
    before = net(input_ids=some_ids(), use_cache=False).logits
    adapted = preset("peft/lora").adapt(net)
    assert {p.dtype for p in trained(adapted).values()} == {torch.float32}
    assert torch.equal(adapted(input_ids=some_ids(), use_cache=False).logits, before)


def test_adapters_are_drawn_from_the_global_generator(models):
    drawn = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        drawn.append(
            torch.cat([p.flatten() for p in trained(preset("peft/lora").adapt(load(models("llama")))).values()])
        )
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


OWN, ALL = {"q_proj.base_layer.bias"}, {"q_proj.base_layer.bias", "k_proj.bias", "v_proj.bias"}


@pytest.mark.parametrize(("bias", "expected"), [("none", set()), ("lora_only", OWN), ("all", ALL)])
def test_biases_of_the_base_train_as_asked(models, bias, expected):
    adapted = preset("peft/lora", bias=bias, target_modules=["q_proj"]).adapt(load(models("qwen2")))
    ends = {name.rpartition("self_attn.")[2] for name in trained(adapted) if name.endswith(".bias")}
    assert ends == expected


@pytest.mark.parametrize("changes", [{"use_dora": True}, {"modules_to_save": ["lm_head"]}], ids=str)
def test_variants_train(models, changes):
    adapted = shaken(preset("peft/lora", lora_rank=2, **changes).adapt(load(models("llama"))))
    adapted(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss.backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in trained(adapted).values())


@pytest.mark.parametrize("family", ["mixtral", "deepseek_v2"])
def test_experts_of_mixtures_are_adapted_too(models, family, caplog):
    adapted = preset("peft/lora", lora_rank=2).adapt(load(models(family)))
    assert any("experts" in name for name in trained(adapted))
    assert not caplog.records


def test_experts_that_are_left_out_are_named(models, caplog):
    with caplog.at_level(logging.WARNING, "mftcoder"):
        preset("peft/lora", target_modules=["q_proj"]).adapt(load(models("mixtral")))
    assert "peft.target_parameters=[down_proj,gate_up_proj]" in caplog.text


def test_all_names_that_fit_nothing_are_refused_together(models):
    lora = preset("peft/lora", target_modules=["q_proj", "query"], modules_to_save=["head"])
    with pytest.raises(UserError) as error:
        lora.adapt(load(models("llama")))
    first, second = str(error.value).splitlines()
    assert first.startswith("peft.target_modules: 'query' is no part of LlamaForCausalLM")
    assert "down_proj, gate_proj, k_proj, lm_head, o_proj, q_proj, up_proj, v_proj" in first
    assert second.startswith("peft.modules_to_save: 'head'")


def test_dropout_over_experts_is_refused_with_the_reason(models):
    with pytest.raises(UserError, match="lora_dropout"):
        preset("peft/lora", lora_dropout=0.1).adapt(load(models("mixtral")))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"lora_rank": 0}, "peft.lora_rank: 0"),
        ({"lora_dropout": 1.0}, "peft.lora_dropout: 1.0"),
        ({"target_parameters": ["w"], "lora_dropout": 0.1}, "peft.target_parameters"),
    ],
)
def test_the_constructor_refuses(changes, message):
    with pytest.raises(ValueError, match=message):
        preset("peft/lora", **changes)


@pytest.mark.parametrize(
    "changes", [{"bias": "lora_only"}, {"modules_to_save": ["embed_tokens", "lm_head"]}, {"use_dora": True}], ids=str
)
def test_whatever_trains_over_a_bfloat16_base_is_float32_and_moves(models, changes):
    net = load(models("phi"), dtype="bfloat16")
    before = net(input_ids=some_ids(), use_cache=False).logits
    adapted = preset("peft/lora", **changes).adapt(net)
    assert {p.dtype for p in trained(adapted).values()} == {torch.float32}
    assert {p.dtype for p in adapted.parameters() if not p.requires_grad} == {torch.bfloat16}
    optimizer = torch.optim.AdamW(trained(adapted).values(), lr=1e-5, weight_decay=0.0)
    start = {name: p.detach().clone() for name, p in trained(adapted).items()}
    for _ in range(2):
        with torch.autocast("cpu", torch.bfloat16):
            logits = adapted(input_ids=some_ids(), use_cache=False).logits
        assert logits.dtype == torch.bfloat16
        torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), some_ids().flatten()).backward()
        optimizer.step()
    moved = {name for name, p in trained(adapted).items() if not torch.equal(p, start[name])}
    assert moved == set(start)
    assert (logits - before).abs().max() < 0.1 * before.abs().max()


def test_a_method_that_leaves_coarse_parameters_fails_at_once(models, monkeypatch):
    monkeypatch.setattr("mftcoder.peft.base._is_coarse", lambda p: p.requires_grad)
    with pytest.raises(AssertionError, match="float32 or float64"):
        preset("peft/lora").adapt(load(models("llama")))


@pytest.mark.parametrize("family", ["mixtral", "qwen2_moe", "qwen3_moe", "deepseek_v2"])
@pytest.mark.parametrize(("experts", "router"), [(True, False), (True, True), (False, False)])
def test_experts_and_router_are_adapted_as_asked_in_every_family(models, family, experts, router):
    lora = preset("peft/lora", lora_rank=2, train_experts=experts, train_router=router)
    adapted = lora.adapt(load(models(family)))
    names = set(trained(adapted))
    assert any(".experts." in name for name in names) == experts
    assert any(name.rpartition(".lora_")[0].endswith((".gate", ".router")) for name in names) == router
    assert any("q_proj" in name or "q_a_proj" in name for name in names)
    before = load(models(family))(input_ids=some_ids(), use_cache=False).logits
    torch.testing.assert_close(adapted(input_ids=some_ids(), use_cache=False).logits, before, rtol=0, atol=1e-6)
    shaken(adapted)(input_ids=some_ids(), labels=some_ids(), use_cache=False).loss.backward()
    assert all(p.grad is not None for p in trained(adapted).values())


@pytest.mark.parametrize("experts", [True, False])
def test_split_experts_are_adapted_as_asked(models, experts):
    net = load(models("mixtral"), quantization=preset("quantization/nf4"))
    adapted = preset("peft/lora", lora_rank=2, train_experts=experts).adapt(net)
    assert any(".experts." in name for name in trained(adapted)) == experts
    assert not any("gate.lora" in name for name in trained(adapted))
