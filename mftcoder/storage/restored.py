"""Finds a trained model again from its run, with all that the run knew about it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.core.errors import ConfigError, UserError
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.weights import ADAPTER
from mftcoder.peft.base import quiet
from mftcoder.quantization.base import Quantization
from mftcoder.storage import resumption, untrusted
from mftcoder.storage.snapshot import CONFIG
from mftcoder.storage.upgrade import upgraded
from mftcoder.system import manifest
from mftcoder.system.run_files import LATEST, newest_run

log = logging.getLogger(__name__)

FromRun = Literal["run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedModel:
    """A model as a run saved it, not loaded yet.

    Args:
        model: the base model.
        quantization: of the base model.
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
        """The network, in evaluation mode, and its tokenizer; fully trained weights stay float32 on every device."""
        whole = self.weights is not None and not self.is_adapter
        source = self.model.at(cast(Path, self.weights)) if whole else self.model
        net = source.load(self.quantization, device, frozen=not whole)
        if self.is_adapter:
            net = attach(net, cast(Path, self.weights))
        return net.eval(), source.tokenizer()


def find(
    checkpoint: str | None,
    *,
    model: CausalLM | FromRun,
    quantization: Quantization | FromRun | None,
    trusted: Sequence[str] = (),
) -> SavedModel:
    """The model that `checkpoint` names, or the base model where it is None; nothing is loaded yet.

    Args:
        checkpoint: a run (its latest step), a step, a file that names one (checkpoints/best), or any other directory
            with an adapter or a model.
        model: the base, or "run" for that of the run.
        quantization: of the base, or "run"; without a checkpoint "run" quantises nothing.
        trusted: packages from which a step may take components, besides ours.

    Raises:
        UserError: there is no such checkpoint, or it is damaged.
    """
    weights = None if checkpoint is None else weights_of(checkpoint)
    if weights is None and quantization == "run":
        quantization = None
    return SavedModel(
        model=of_run("model", model, weights, CausalLM, trusted=trusted),
        quantization=of_run("quantization", quantization, weights, Quantization | None, trusted=trusted),
        weights=weights,
    )


def of_run(name: str, given: object, weights: Path | None, wanted: Any, *, trusted: Sequence[str] = ()) -> Any:
    """A component or value as given, or, for "run", as the run that saved `weights` had it.

    Args:
        name: of the group or key.
        given: what the command line says.
        weights: the directory of a step.
        wanted: the annotation of what it must be; what stands in the step is held to it, see storage.untrusted.
        trusted: packages from which a step may take components, besides ours.

    Raises:
        UserError: there is no run to ask, or it asks for what is not taken from a checkpoint.
    """
    if given != "run":
        return given
    if weights is None or not (file := weights / CONFIG).is_file():
        where = "no checkpoint was given" if weights is None else f"{weights} has no {CONFIG}"
        raise UserError(
            f"{name}=run takes it from a checkpoint that a run saved, but {where}; give {name}=<choice> "
            "(an exported model is model=path model.pretrained_model_path=<directory> template=native)"
        )
    saved = upgraded(untrusted.read_json(file))
    try:
        return untrusted.component(name, saved.get(name), wanted, step=weights, trusted=trusted)
    except ConfigError as error:
        raise UserError(
            f"{file}: {'; '.join(error.faults)}. If you trust it, type it: {name}=<choice>, "
            "or trusted_targets=[<package>] for components of your own"
        ) from error


def attach(net: PreTrainedModel, adapter: Path) -> PeftModel:
    """`net` with the adapter in a directory. Raises UserError where the two do not fit."""
    config = untrusted.read_json(adapter / "adapter_config.json")
    base = config.get("base_model_name_or_path")
    try:
        untrusted.check_adapter(config)
        with quiet():
            adapted = PeftModel.from_pretrained(net, str(adapter))
    except Exception as error:  # PEFT raises anything where a field is of another type.
        raise UserError(f"the adapter in {adapter} does not fit {net.name_or_path}, but {base}: {error}") from error
    if base != net.name_or_path:
        log.warning("the adapter in %s was trained over %s, not over %s", adapter, base, net.name_or_path)
    return adapted


def weights_of(checkpoint: str) -> Path:
    """The directory of the weights that a checkpoint names: a run, a step, a pointer, or any other directory.

    Above runs, as runs/<name> is, it is the newest of them that has a checkpoint.

    Raises:
        UserError: there are none, or they are damaged.
    """
    path = Path(checkpoint)
    run = newest_run(path, having=LATEST)
    pointer = path if run is None else run / LATEST
    if pointer.is_file():
        path = pointer.parent / resumption.pointed(pointer)
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
