"""Loading a causal language model and its tokenizer, from a directory or a hub."""

from __future__ import annotations

import logging
import re
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, cast

import torch
from huggingface_hub import constants, get_session
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase
from transformers.integrations import is_deepspeed_zero3_enabled
from transformers.utils.logging import disable_progress_bar

from mftcoder.core.errors import UserError
from mftcoder.quantization.base import Quantization

Dtype = Literal["auto", "float32", "bfloat16", "float64"]
HUB_TIMEOUT = 5  # seconds

log = logging.getLogger(__name__)


class CausalLM:
    """A pretrained model, not loaded yet.

    pretrained_model_path: a directory with config.json, *.safetensors and tokenizer files, or the id of a hub
    repository. local_copy: a directory that is taken instead wherever it exists. revision: branch, tag or commit of the
    repository; trust_remote_code runs code from it, and therefore wants a whole commit hash (40 hex digits).
    dtype: auto keeps trained weights in float32, and a frozen base in bfloat16 on GPUs that compute in it.
    attn_implementation: any that transformers knows, sdpa or FlashAttention for packs; None lets it choose.
    gradient_checkpointing: compute each layer a second time in the backward pass instead of keeping its activations.
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
        gradient_checkpointing: bool,
    ) -> None:
        self.pretrained_model_path = pretrained_model_path
        self.local_copy = local_copy
        self.revision = revision
        self.trust_remote_code = trust_remote_code
        self.dtype = dtype
        self.attn_implementation = attn_implementation
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
            gradient_checkpointing=self.gradient_checkpointing,
        )

    def source(self) -> str:
        """The absolute path of the directory to load from, or else the hub id."""
        for path in (self.local_copy, self.pretrained_model_path):
            if path is not None and Path(path).is_dir():
                return str(Path(path).resolve())
        return self.pretrained_model_path

    def tokenizer(self) -> PreTrainedTokenizerBase:
        """Its fast tokenizer; where that has no padding token, the end-of-sequence token pads (as in the original).

        Raises UserError where it cannot be loaded, is not fast, or knows no end of sequence.
        """
        source = self.source()
        options = self._hub_options(source)
        try:
            tokenizer = AutoTokenizer.from_pretrained(source, **options)
        except (OSError, ValueError) as error:
            raise _unloadable("tokenizer", source, str(error)) from error
        if not tokenizer.is_fast:
            raise _unloadable("tokenizer", source, "it has no fast version (tokenizer.json)")
        if tokenizer.eos_token is None:
            raise _unloadable("tokenizer", source, "it has no eos_token, with which every answer ends")
        if tokenizer.pad_token is None:
            tokenizer.pad_token = tokenizer.eos_token
        return cast(PreTrainedTokenizerBase, tokenizer)

    def load(self, quantization: Quantization | None, device: torch.device, *, frozen: bool) -> PreTrainedModel:
        """The network on `device`, in training mode, without a key-value cache.

        frozen: whether the base itself stays as it is (an adapter trains, or nothing); decides dtype=auto.
        Raises UserError where it cannot be loaded, or not whole.
        """
        source = self.source()
        dtype = self._dtype(device, frozen=frozen)
        options = self._hub_options(source)
        if quantization is not None:
            options["quantization_config"] = quantization.config(dtype)
        if not is_deepspeed_zero3_enabled() and (quantization is not None or device.type != "cpu"):
            options["device_map"] = {"": str(device)}
        net = self._read(source, {**options, "dtype": dtype})
        self._configure(net)
        if quantization is not None:
            quantization.prepare(net)
        return net.train()

    def _read(self, source: str, options: dict[str, Any]) -> PreTrainedModel:
        """The network with all its weights. Raises UserError in place of what libraries raise."""
        disable_progress_bar()  # Of reading files: a run has a bar of its own.
        options |= {"use_safetensors": True, "attn_implementation": self.attn_implementation}
        if options.get("local_files_only"):
            options["adapter_kwargs"] = {"local_files_only": True}  # transformers also looks for an adapter there
        try:
            net, report = AutoModelForCausalLM.from_pretrained(source, output_loading_info=True, **options)
        except ImportError as error:  # FlashAttention or bitsandbytes
            raise UserError(f"model {source!r} needs a package that is not installed: {error}") from error
        except (OSError, ValueError) as error:
            raise _unloadable("model", source, str(error)) from error
        if missing := ", ".join(sorted(report["missing_keys"])):
            raise _unloadable("model", source, f"no weights for {missing}, which would stay random")
        return cast(PreTrainedModel, net)

    def sketch(self, dtype: torch.dtype) -> PreTrainedModel:
        """The network as `load` gives it but on the meta device: shapes in `dtype`, no weights.

        Raises UserError where its config cannot be read.
        """
        source = self.source()
        options = self._hub_options(source)
        try:
            config = AutoConfig.from_pretrained(source, **options)
            with torch.device("meta"):
                net = AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=self.trust_remote_code)
        except (OSError, ValueError) as error:
            raise _unloadable("config", source, str(error)) from error
        self._configure(net)
        return cast(PreTrainedModel, net.train())

    def _configure(self, net: PreTrainedModel) -> None:
        net.config.use_cache = False  # A cache made inside forward would let the samples of a pack see each other.
        net.base_revision = self.revision  # for the config of an adapter
        if self.gradient_checkpointing:
            # In transformers 5.20, the last for Python 3.10, the same is called gradient_checkpointing_enable.
            enable = getattr(net, "activation_checkpointing_enable", net.gradient_checkpointing_enable)
            enable({"use_reentrant": False})

    def _dtype(self, device: torch.device, *, frozen: bool) -> torch.dtype:
        if self.dtype != "auto":
            return cast(torch.dtype, getattr(torch, self.dtype))
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast and frozen else torch.float32

    def _hub_options(self, source: str) -> dict[str, Any]:
        """Remote code runs only when asked for, and only from the one commit that was named."""
        options: dict[str, Any] = {"trust_remote_code": self.trust_remote_code}
        if Path(source).is_dir():
            return options
        if self.trust_remote_code:
            if not re.fullmatch("[0-9a-f]{40}", self.revision or ""):
                raise UserError(
                    f"model.trust_remote_code=true runs code from {source}, so model.revision must be the commit that "
                    f"you have read, as 40 hex digits, not {self.revision!r}"
                )
            options["code_revision"] = self.revision
        return {**options, "revision": self.revision or "main", "local_files_only": not _hub_answers()}


@lru_cache
def _hub_answers() -> bool:
    """Whether the hub can be reached; asked once, since its library would retry five times for every file."""
    if constants.HF_HUB_OFFLINE:
        return False
    try:
        get_session().head(constants.ENDPOINT, timeout=HUB_TIMEOUT)
    except Exception as error:  # The library has changed its HTTP client more than once.
        log.warning("%s cannot be reached (%s); only cached files are used", constants.ENDPOINT, error)
        return False
    return True


def _unloadable(what: str, source: str, why: str) -> UserError:
    return UserError(
        f"model.pretrained_model_path: the {what} of {source!r} cannot be loaded: {why.strip()}\n"
        "It must be a directory with config.json, *.safetensors (pickled weights are refused) and tokenizer files, or "
        "a hub id that this machine can reach or has in its cache (HF_HUB_OFFLINE=1 looks in the cache alone)."
    )
