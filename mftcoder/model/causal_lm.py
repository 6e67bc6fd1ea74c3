"""Loading a causal language model and its tokenizer, from a directory or a hub."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, cast

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils.logging import disable_progress_bar

from mftcoder.core.errors import UserError
from mftcoder.model import dropout
from mftcoder.model.source import cached_commit, hub_options, unloadable
from mftcoder.quantization.base import Quantization

Dtype = Literal["auto", "float32", "bfloat16", "float64"]

log = logging.getLogger(__name__)


class CausalLM:
    """A pretrained model, not loaded yet.

    Args:
        pretrained_model_path: a directory with config.json, *.safetensors and tokenizer files, or a hub id.
        local_copy: a directory that is taken instead wherever it exists.
        revision: branch, tag or commit of the hub repository; None: its main branch.
        trust_remote_code: run code from the repository; wants a whole commit hash (40 hex digits) as `revision`.
        dtype: auto keeps trained weights in float32, and a frozen base in bfloat16 on GPUs that compute in it.
        attn_implementation: any that transformers knows; packs need sdpa or FlashAttention; None: its choice.
        dropout: rate of all dropout inside the model, in place of its config's; None keeps those. Above 0, the
            gradient depends on how a batch is split into micro-batches.
        gradient_checkpointing: recompute each layer in the backward pass instead of keeping its activations.

    Raises:
        ValueError: `dropout` is not a rate.
    """

    def __init__(
        self,
        *,
        pretrained_model_path: str,
        local_copy: str | None,
        revision: str | None,
        trust_remote_code: bool,
        dtype: Dtype,
        attn_implementation: str | None,
        dropout: float | None,
        gradient_checkpointing: bool,
    ) -> None:
        if dropout is not None and not 0 <= dropout < 1:
            raise ValueError(f"model.dropout: {dropout} is not in [0, 1); null keeps the rates of the model's config")
        self.pretrained_model_path = pretrained_model_path
        self.local_copy = local_copy
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.dtype = dtype
        self.attn_implementation = attn_implementation
        self.dropout = dropout
        self.gradient_checkpointing = gradient_checkpointing

    def at(self, directory: Path) -> CausalLM:
        """The same kind of model with the weights and the tokenizer in `directory`."""
        return CausalLM(
            pretrained_model_path=str(directory),
            local_copy=None,
            revision=None,
            trust_remote_code=self.trust_remote_code,
            dtype=self.dtype,
            attn_implementation=self.attn_implementation,
            dropout=self.dropout,
            gradient_checkpointing=self.gradient_checkpointing,
        )

    def conflicts(self, parts: Mapping[str, Any]) -> Iterator[str]:
        """Why it cannot run with the other components of a run."""
        if "peft" in parts and parts["peft"] is None and self.dtype == "bfloat16":
            yield (
                "dtype=bfloat16 with peft=none trains weights of 8 bits of precision, which lose most updates: at a "
                "learning rate of 1e-5, 30 steps changed 15 % of them in place of 99.9 %; take model.dtype=auto "
                "(float32 weights), engine.mixed_precision=bf16 computes in bfloat16 all the same"
            )

    def source(self) -> str:
        """The absolute path of the directory to load from, or else the hub id."""
        for path in (self.local_copy, self.pretrained_model_path):
            if path is not None and Path(path).is_dir():
                return str(Path(path).resolve())
        return self.pretrained_model_path

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its fast tokenizer; where that has no padding token, the end-of-sequence token pads (as in the original).

        Raises:
            UserError: it cannot be loaded, is not fast, or has no end of sequence.
        """
        source = self.source()
        options = hub_options(source, self.revision, trust_remote_code=self.trust_remote_code)
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        except Exception as error:  # The library raises anything where a field is of another type.
            raise unloadable("tokenizer", source, f"{error}") from error
        if not tokenizer.is_fast:
            raise unloadable("tokenizer", source, f"{type(tokenizer).__name__} has no fast version (tokenizer.json)")
        if tokenizer.eos_token is None:
            raise unloadable(
                "tokenizer",
                source,
                f"no eos_token, with which every answer ends, in {tokenizer.special_tokens_map}",
            )
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cast(PreTrainedTokenizerBase, tokenizer)

    def config(self) -> PretrainedConfig:
        """The model's config, as published.

        Raises:
            UserError: it cannot be read.
        """
        source = self.source()
        options = hub_options(source, self.revision, trust_remote_code=self.trust_remote_code)
        try:
            return cast(PretrainedConfig, AutoConfig.from_pretrained(source, **options))
        except (OSError, ValueError) as error:
            raise unloadable("model", source, f"{error}") from error

    def commit(self) -> str | None:
        """The commit of the hub repository that `revision` stands for; None for a directory.

        Raises:
            UserError: the model's config cannot be read.
        """
        self.config()  # so that its file is in the cache
        return cached_commit(self.source(), self.revision)

    def load(self, quantization: Quantization | None, device: torch.device, *, frozen: bool) -> PreTrainedModel:
        """The network on `device`, in training mode, without a key-value cache.

        Args:
            frozen: whether the base itself does not train (an adapter does, or nothing); decides dtype=auto.

        Raises:
            UserError: it cannot be loaded, or some of its weights are missing.
        """
        source = self.source()
        config = self.config()
        dtype = self._dtype(device, frozen=frozen)
        options = hub_options(source, self.revision, trust_remote_code=self.trust_remote_code)
        if quantization is not None:
            options["quantization_config"] = quantization.config(dtype)
        # Experts are quantised one by one once they are read, and would not fit on the device whole.
        first = "cpu" if quantization is not None and _has_experts(config) else str(device)
        if not is_deepspeed_zero3_enabled() and (quantization is not None or device.type != "cpu"):
            options["device_map"] = {"": first}
        published = self._set_dropout(config)
        net = self._read(source, {**options, "config": config, "dtype": dtype})
        self._configure(net, published)
        if quantization is not None:
            quantization.prepare(net, device)
        return net.train() if first == str(device) else net.to(device).train()

    def _read(self, source: str, options: dict[str, Any]) -> PreTrainedModel:
        """The network with all its weights; errors of the libraries become UserErrors."""
        disable_progress_bar()  # Of reading files: a run has a bar of its own.
        options |= {"use_safetensors": True, "attn_implementation": self.attn_implementation}
        if options.get("local_files_only"):
            options["adapter_kwargs"] = {"local_files_only": True}  # transformers also looks for an adapter there
        try:
            net, report = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **options)
        except ImportError as error:  # FlashAttention or bitsandbytes
            raise UserError(f"model {source!r} needs a package that is not installed: {error}") from error
        except (OSError, ValueError) as error:
            raise unloadable("model", source, f"{error}") from error
        if missing := ", ".join(sorted(report["missing_keys"])):
            raise unloadable("model", source, f"no weights for {missing}, which would stay random")
        if unexpected := sorted(report["unexpected_keys"]):
            log.warning(
                "%s holds weights that %s has no place for, and that are left out: %s%s",
                *(source, type(net).__name__, ", ".join(unexpected[:5]), ", …" if len(unexpected) > 5 else ""),
            )
        return cast(PreTrainedModel, net)

    def sketch(self, dtype: torch.dtype) -> PreTrainedModel:
        """The network as `load` gives it but on the meta device: shapes in `dtype`, no weights.

        Raises:
            UserError: its config cannot be read.
        """
        config = self.config()
        published = self._set_dropout(config)
        try:
            with torch.device("meta"):
                net = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=self.trust_remote_code)
        except (OSError, ValueError) as error:
            raise unloadable("config", self.source(), f"{error}") from error
        self._configure(net, published)
        return cast(PreTrainedModel, net.train())

    def _set_dropout(self, config: PretrainedConfig) -> list[float]:
        """Set the rates in `config` as asked; returns those that were published."""
        published = dropout.values(config)
        if self.dropout is not None:
            dropout.set_values(config, [self.dropout] * len(published))
        return published

    def _configure(self, net: PreTrainedModel, published_dropout: list[float]) -> None:
        net.config.use_cache = False  # A cache made inside forward would let the samples of a pack see each other.
        net.published_dropout = published_dropout  # for the config of what is saved
        if self.dropout is not None:
            dropout.set_modules(net, self.dropout)
        # For the config of an adapter: the commit itself, since branches move.
        net.base_revision = cached_commit(self.source(), self.revision) or self.revision
        if self.gradient_checkpointing:
            # In transformers 5.20, the last for Python 3.10, the same is called gradient_checkpointing_enable.
            enable = getattr(net, "activation_checkpointing_enable", net.gradient_checkpointing_enable)
            enable({"use_reentrant": False})

    def _dtype(self, device: torch.device, *, frozen: bool) -> torch.dtype:
        if self.dtype != "auto":
            return cast(torch.dtype, getattr(torch, self.dtype))
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast and frozen else torch.float32


def _has_experts(config: PretrainedConfig) -> bool:
    """Whether the config of a model names a number of experts."""
    text = config.get_text_config()
    return any(getattr(text, name, None) for name in ("num_local_experts", "num_experts", "n_routed_experts"))
