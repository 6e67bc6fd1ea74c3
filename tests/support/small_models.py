"""Small random models of each family, and components as the YAML presets describe them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import (
    AutoModelForCausalLM,
    DeepseekV2Config,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    Glm4Config,
    GPTBigCodeConfig,
    GPTNeoXConfig,
    GptOssConfig,
    GraniteConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Olmo2Config,
    Olmo3Config,
    Phi3Config,
    PhiConfig,
    PretrainedConfig,
    PreTrainedTokenizerBase,
    Qwen2Config,
    Qwen2MoeConfig,
    Qwen3Config,
    Qwen3MoeConfig,
    SeedOssConfig,
    SmolLM3Config,
    Starcoder2Config,
)

from mftcoder.cli.config import build, conf_dir

VOCABULARY = 288
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
}
ENDS = {"bos_token_id": 256, "eos_token_id": 257, "pad_token_id": 258}
LATENT = {"kv_lora_rank": 16, "q_lora_rank": None, "qk_rope_head_dim": 8, "qk_nope_head_dim": 16, "v_head_dim": 16}
EXPERTS = {
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 32,
    "first_k_dense_replace": 1,
}
ROUTED = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 32, "decoder_sparse_step": 1}
BIGCODE = {"vocab_size": VOCABULARY, "n_embd": 64, "n_inner": 96, "n_layer": 2, "n_head": 4, "n_positions": 256}

FAMILIES: dict[str, Callable[[], PretrainedConfig]] = {
    "llama": lambda: LlamaConfig(**SIZES, **ENDS),
    "mistral": lambda: MistralConfig(**SIZES, **ENDS, sliding_window=32),
    "mixtral": lambda: MixtralConfig(**SIZES, **ENDS, num_local_experts=4),
    "qwen2": lambda: Qwen2Config(**SIZES, **ENDS, tie_word_embeddings=True),
    "qwen3": lambda: Qwen3Config(**SIZES, **ENDS, head_dim=16),
    "starcoder2": lambda: Starcoder2Config(**SIZES, **ENDS),
    "gpt_bigcode": lambda: GPTBigCodeConfig(**BIGCODE, **ENDS),
    "gpt_neox": lambda: GPTNeoXConfig(**SIZES, **ENDS),
    "phi": lambda: PhiConfig(**SIZES, **ENDS),
    "gemma": lambda: GemmaConfig(**SIZES, **ENDS, head_dim=16),
    "gemma2": lambda: Gemma2Config(**SIZES, **ENDS, head_dim=16),
    "gemma3_text": lambda: Gemma3TextConfig(**SIZES, **ENDS, head_dim=16, sliding_window=32),
    "phi3": lambda: Phi3Config(**SIZES, **ENDS),
    "granite": lambda: GraniteConfig(**SIZES, **ENDS),
    "olmo2": lambda: Olmo2Config(**SIZES, **ENDS),
    "olmo3": lambda: Olmo3Config(**SIZES, **ENDS, sliding_window=32),
    "seed_oss": lambda: SeedOssConfig(**SIZES, **ENDS, head_dim=16),
    "smollm3": lambda: SmolLM3Config(**SIZES, **ENDS),
    "glm4": lambda: Glm4Config(**SIZES, **ENDS, head_dim=16),
    "qwen2_moe": lambda: Qwen2MoeConfig(**SIZES, **ENDS, **ROUTED, shared_expert_intermediate_size=32),
    "qwen3_moe": lambda: Qwen3MoeConfig(**SIZES, **ENDS, **ROUTED, head_dim=16),
    "gpt_oss": lambda: GptOssConfig(**SIZES, **ENDS, head_dim=16, num_local_experts=4, num_experts_per_tok=2),
    "deepseek_v2": lambda: DeepseekV2Config(**SIZES | {"num_key_value_heads": 4}, **ENDS, **LATENT, **EXPERTS),
}


def preset(choice: str, **changes: Any) -> Any:
    """The component of conf/<choice>.yaml, with some of its values changed."""
    tree = _tree(choice)
    assert changes.keys() <= tree.keys()
    return build({**tree, **changes})


def _tree(choice: str) -> dict[str, Any]:
    """What a choice says, over what it inherits from."""
    own = yaml.safe_load((conf_dir() / f"{choice}.yaml").read_text(encoding="utf-8"))
    group = choice.rpartition("/")[0]
    bases = [name for name in own.pop("defaults", []) if isinstance(name, str) and name != "_self_"]
    return {key: value for base in bases for key, value in _tree(f"{group}/{base}").items()} | own


def save_random(family: str, directory: Path, tokenizer: PreTrainedTokenizerBase | None = None) -> Path:
    """A random model of a family in float32, always the same."""
    torch.manual_seed(0)
    AutoModelForCausalLM.from_config(FAMILIES[family]()).save_pretrained(directory)
    if tokenizer is not None:
        tokenizer.save_pretrained(directory)
    return directory


def load(directory: Path, **changes: Any) -> Any:
    """That model as model=path loads it for training."""
    frozen = changes.pop("frozen", True)
    quantization = changes.pop("quantization", None)
    model = preset("model/path", pretrained_model_path=str(directory), **changes)
    return model.load(quantization, torch.device("cpu"), frozen=frozen)


def some_ids(rows: int = 2, length: int = 24) -> torch.Tensor:
    """Token ids [rows, length] that every family knows."""
    return torch.randint(256, (rows, length), generator=torch.Generator().manual_seed(1))


def shaken(net: torch.nn.Module, scale: float = 0.1) -> Any:
    """`net` with random trained parameters: fresh adapters would change nothing."""
    generator = torch.Generator().manual_seed(2)
    for parameter in net.parameters():
        if parameter.requires_grad:
            noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float32)
            parameter.data.add_(noise.to(parameter.dtype) * scale)
    return net
