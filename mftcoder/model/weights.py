"""The trained weights on disk, as PEFT and transformers read them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Protocol, cast

from peft import PeftModel, get_peft_model_state_dict
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.core.errors import UserError
from mftcoder.model import dropout

ADAPTER = "adapter_model.safetensors"
PREFIX = "net."  # Engines name the parameters of a LossModel, which calls the network so.

Tensors = Mapping[str, Tensor]


class Holder(Protocol):
    """The part of an engine that is needed here."""

    def weights(self) -> dict[str, Tensor]:
        """All trained parameters by name, whole, on the CPU, on rank 0."""

    def load_weights(self, weights: Mapping[str, Tensor], /) -> None:
        """Set the trained parameters."""


class ModelWeights:
    """The trained weights of `net`: an adapter in PEFT's layout, or a whole model in Hugging Face's; and its tokenizer.

    A whole model is stored under the names that its parameters have here, so that reading it back is exact; `export`
    writes the names of its family's published checkpoints. Satisfies core.state.Weights.
    """

    def __init__(self, engine: Holder, net: PreTrainedModel | PeftModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.engine = engine
        self.net = net
        self.tokenizer = copy.deepcopy(tokenizer)  # It may be written by one thread while another one encodes.

    def snapshot(self) -> Callable[[Path], None]:
        """Copy the weights; the returned function writes them with config and tokenizer. Every rank must call it."""
        tensors = {name.removeprefix(PREFIX): tensor for name, tensor in self.engine.weights().items()}

        def write(directory: Path) -> None:
            directory.mkdir(parents=True, exist_ok=True)
            if isinstance(self.net, PeftModel):
                save_adapter(self.net, tensors, directory)
            else:
                save_model(self.net, tensors, directory, original_names=False)
            self.tokenizer.save_pretrained(directory)

        return write

    def load(self, directory: Path) -> None:
        """Read back what a snapshot wrote; every rank must call it. Raises UserError where the files are not there."""
        net = self.net
        weights = load_adapter(net, directory) if isinstance(net, PeftModel) else load_model(net, directory)
        self.engine.load_weights({PREFIX + name: tensor for name, tensor in weights.items()})


def save_adapter(net: PeftModel, tensors: Tensors, directory: Path) -> None:
    """Write the adapter of `net` with the given values of its parameters, by their names in `net`."""
    keys = _adapter_keys(net)
    if lost := sorted(tensors.keys() - keys.values()):
        raise ValueError(f"PEFT's format has no place for {', '.join(lost)}")
    save_file({key: tensors[name].contiguous() for key, name in keys.items()}, directory / ADAPTER, {"format": "pt"})
    config = copy.deepcopy(net.peft_config[net.active_adapter])
    config.inference_mode = True
    for name in ("target_modules", "target_parameters", "modules_to_save"):
        if isinstance(names := getattr(config, name), set):  # whose order is another in every process
            setattr(config, name, sorted(names))
    config.save_pretrained(directory)


def load_adapter(net: PeftModel, directory: Path) -> dict[str, Tensor]:
    """What `save_adapter` wrote, or PEFT itself, by the names that the parameters have in `net`."""
    if not (directory / ADAPTER).is_file():
        raise UserError(f"{directory} holds no {ADAPTER}; it was not saved by a run with an adapter (peft=lora)")
    keys = _adapter_keys(net)
    tensors = load_file(directory / ADAPTER)
    if differing := sorted(tensors.keys() ^ keys.keys()):
        raise UserError(
            f"{directory / ADAPTER} belongs to another adapter; only one of the two has {', '.join(differing[:5])}"
            f"{', …' if len(differing) > 5 else ''}: load it with the peft configuration that it was trained with"
        )
    return {keys[key]: tensor for key, tensor in tensors.items()}


def save_model(net: PreTrainedModel, tensors: Tensors, directory: Path, *, original_names: bool) -> None:
    """Write `net` with the given values of its parameters, by their names in `net`.

    original_names: those of the published checkpoints of its family, which other programs read; else those in `net`.
    """
    parameters = {name for name, _ in net.named_parameters(remove_duplicate=False)}
    buffers = {name: tensor.cpu() for name, tensor in net.state_dict().items() if name not in parameters}
    net.save_pretrained(directory, state_dict={**buffers, **tensors}, save_original_format=original_names)
    config = copy.deepcopy(net.config)
    config.use_cache = True  # Off in training only, as is dropout.
    dropout.set_values(config, net.published_dropout)
    config.save_pretrained(directory)


def load_model(net: PreTrainedModel, directory: Path) -> dict[str, Tensor]:
    """The parameters that `save_model` wrote under their names in `net`."""
    files = sorted(directory.glob("model*.safetensors"))
    if not files:
        raise UserError(
            f"{directory} holds no model*.safetensors; it was not saved by a run without adapter (peft=none)"
        )
    names = {name for name, _ in net.named_parameters()}
    return {name: tensor for file in files for name, tensor in load_file(file).items() if name in names}


def _adapter_keys(net: PeftModel) -> dict[str, str]:
    """{key in the file: name in `net`} of everything that belongs to the adapter; PEFT only moves the values about."""
    names: dict[str, Any] = {name: name for name, _ in net.named_parameters()}
    return cast(dict[str, str], get_peft_model_state_dict(net, state_dict=names, save_embedding_layers=False))
