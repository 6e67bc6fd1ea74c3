"""A random llama of under two million parameters, for tests, laptops and first tries."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from pathlib import Path

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast
from typing_extensions import override

from mftcoder.model.causal_lm import CausalLM, Dtype
from mftcoder.model.tiny_tokenizer import FILE, SPECIAL_TOKENS, VOCABULARY_SIZE
from mftcoder.system.files import staged


class Tiny(CausalLM):
    """The same weights for the same arguments, and like any other model otherwise.

    They are drawn when first needed and kept below `directory`, so that adapters trained on them can be loaded by other
    programs. init_seed: draws them. The other sizes are those of transformers' LlamaConfig.
    """

    def __init__(
        self,
        *,
        directory: str,
        init_seed: int,
        hidden_size: int,
        intermediate_size: int,
        num_hidden_layers: int,
        num_attention_heads: int,
        num_key_value_heads: int,
        max_position_embeddings: int,
        tie_word_embeddings: bool,
        dtype: Dtype,
        attn_implementation: str | None,
        gradient_checkpointing: bool,
    ) -> None:
        self.init_seed = init_seed
        self.sizes = {
            "vocab_size": VOCABULARY_SIZE,
            "hidden_size": hidden_size,
            "intermediate_size": intermediate_size,
            "num_hidden_layers": num_hidden_layers,
            "num_attention_heads": num_attention_heads,
            "num_key_value_heads": num_key_value_heads,
            "max_position_embeddings": max_position_embeddings,
            "tie_word_embeddings": tie_word_embeddings,
        }
        identity = json.dumps([init_seed, self.sizes, torch.__version__, transformers.__version__]).encode()
        super().__init__(
            pretrained_model_path=str(Path(directory) / f"tiny-{hashlib.sha256(identity).hexdigest()[:8]}"),
            local_copy=None,
            revision=None,
            trust_remote_code=False,
            dtype=dtype,
            attn_implementation=attn_implementation,
            dropout=0.0,
            gradient_checkpointing=gradient_checkpointing,
        )

    @override
    def source(self) -> str:
        path = Path(self.pretrained_model_path)
        if not path.is_dir():
            with suppress(FileExistsError), staged(path, replace=False) as directory:
                self._draw(directory)  # Another process may be faster, with the same weights.
        return super().source()

    def _draw(self, directory: Path) -> None:
        ids = {f"{name}_id": index for index, name in enumerate(SPECIAL_TOKENS)}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.init_seed)
            net = LlamaForCausalLM(LlamaConfig(**self.sizes, **ids))
        net.should_save_on_this_rank = lambda is_main_process: True  # Each draws its own, and the first to end wins.
        net.save_pretrained(directory)
        tokenizer = PreTrainedTokenizerFast(
            tokenizer_file=str(FILE), model_max_length=self.sizes["max_position_embeddings"], **SPECIAL_TOKENS
        )
        tokenizer.save_pretrained(directory)
