"""Finds a trained model again from its run, with all that the run knew about it."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.cli.config import build, check
from mftcoder.core import manifest
from mftcoder.core.errors import ConfigError, UserError
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.weights import ADAPTER
from mftcoder.peft.base import quiet
from mftcoder.quantization.base import Quantization
from mftcoder.storage import resumption
from mftcoder.storage import snapshot as files

log = logging.getLogger(__name__)

FromRun = Literal["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A model as a run left it, not loaded yet.

    weights: the directory of the trained weights, an adapter's or a whole model's; None for the base model itself.
    """

    model: CausalLM
    quantization: Quantization | None
    weights: Path | None

    @property
    def is_adapter(self) -> bool:
        """Whether the weights are an adapter over `model`."""
        return self.weights is not None and (self.weights / ADAPTER).is_file()

    def load(self, device: torch.device) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
        """The network, in evaluation mode, and its tokenizer."""
        source = self.model if self.weights is None or self.is_adapter else self.model.at(self.weights)
        net = source.load(self.quantization, device, frozen=True)
        if self.is_adapter:
            net = attach(net, cast(Path, self.weights))
        return net.eval(), source.tokenizer()


def find(checkpoint: str | None, *, model: CausalLM | FromRun, quantization: Quantization | FromRun | None) -> Trained:
    """What `checkpoint` means: a run (its latest step), a step, a file that names one (checkpoints/best), or None.

    Any other directory with an adapter or a model will do as well. Without a checkpoint, "run" quantises nothing.
    Raises UserError where there is no such checkpoint.
    """
    weights = None if checkpoint is None else _weights(Path(checkpoint))
    if weights is None and quantization == "run":
        quantization = None
    return Trained(
        model=of_run("model", model, weights),
        quantization=of_run("quantization", quantization, weights),
        weights=weights,
    )


def of_run(name: str, given: object, weights: Path | None) -> Any:
    """A component or value as given, or, for "run", as the run that saved `weights` had it.

    What stands there is checked anew, since anybody may have written it. Raises UserError where there is no run to ask.
    """
    if given != "run":
        return given
    if weights is None or not (file := weights / files.CONFIG).is_file():
        where = "no checkpoint was given" if weights is None else f"{weights} has no {files.CONFIG}"
        raise UserError(
            f"{name}=run takes it from a checkpoint that a run saved, but {where}; give {name}=<choice> "
            "(an exported model is model=path model.pretrained_model_path=<directory> template=native)"
        )
    tree = json.loads(file.read_text(encoding="utf-8")).get(name)
    try:
        return build(check(tree)) if isinstance(tree, dict) else tree
    except ConfigError as error:
        raise UserError(f"{file}: {name}: {'; '.join(error.faults)}; or give {name}=<choice>") from error


def attach(net: PreTrainedModel, adapter: Path) -> PeftModel:
    """`net` with the adapter in a directory. Raises UserError where the two do not fit."""
    base = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))["base_model_name_or_path"]
    try:
        with quiet():
            adapted = PeftModel.from_pretrained(net, str(adapter))
    except (RuntimeError, ValueError) as error:
        raise UserError(f"the adapter in {adapter} does not fit {net.name_or_path}, but {base}: {error}") from error
    if base != net.name_or_path:
        log.warning("the adapter in %s was trained over %s, not over %s", adapter, base, net.name_or_path)
    return adapted


def _weights(path: Path) -> Path:
    """The directory of the weights that `path`, a run's, a step's, a pointer's or any other, stands for."""
    pointer = path / resumption.STEPS / "latest" if path.is_dir() else path
    if pointer.is_file():
        path = pointer.parent / pointer.read_text(encoding="utf-8").strip()
    if (path / ADAPTER).is_file() or any(path.glob("model*.safetensors")):
        _check(path)
        return path.resolve()
    raise UserError(
        f"checkpoint={path}: neither a run (with {resumption.STEPS}/latest) nor a directory with {ADAPTER} or "
        f"model.safetensors; give the path of a run, of its {resumption.STEPS}/best, or of one of its steps"
    )


def _check(step: Path) -> None:
    """Raise UserError where what a run sealed, but for what only resuming needs, is not as it was."""
    sealed = (step / manifest.MANIFEST).is_file()
    if sealed and (faults := manifest.faults(step, ignored="optimizer")):
        raise UserError(
            "\n".join([f"checkpoint={step} is damaged, or was changed:", *faults])
            + f"\ntake another step, or remove {manifest.MANIFEST} where the change was meant"
        )
