"""Low-rank adapters."""

from __future__ import annotations

import logging
from typing import Literal, cast

from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers import PreTrainedModel
from typing_extensions import override

from mftcoder.core.errors import UserError
from mftcoder.peft.base import Peft, quiet
from mftcoder.peft.fused_lora import fuse

log = logging.getLogger(__name__)


class LoRA(Peft):
    """W x becomes W x + (lora_alpha / lora_rank) B A x, with A random and B zero at first (LoRA, 2106.09685).

    bias: which biases of the base train too. target_modules: names, or ends of names, of the modules to adapt; None
    takes all linear layers but the output head. target_parameters: the same for weights that are no module: the stacked
    experts of mixtures (PEFT counts those of mixtral, qwen2_moe and deepseek_v2 among None's). modules_to_save: modules
    to train whole and store with the adapter. use_rslora: scale by lora_alpha / sqrt(lora_rank) (2312.03732). use_dora:
    train the norm of each column by itself (2402.09353). fused: compute plain adapted layers as one function.
    """

    def __init__(
        self,
        *,
        lora_rank: int,
        lora_alpha: int,
        lora_dropout: float,
        bias: Literal["none", "all", "lora_only"],
        target_modules: list[str] | None,
        target_parameters: list[str] | None,
        modules_to_save: list[str] | None,
        use_rslora: bool,
        use_dora: bool,
        fused: bool,
    ) -> None:
        if lora_rank < 1:
            raise ValueError(f"peft.lora_rank: {lora_rank} is below 1; 8 to 64 are usual")
        if not 0 <= lora_dropout < 1:
            raise ValueError(f"peft.lora_dropout: {lora_dropout} is not in [0, 1); 0.05 is usual")
        if target_parameters and (lora_dropout or use_dora):
            raise ValueError("peft.target_parameters: PEFT adapts these only with lora_dropout=0 and use_dora=false")
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.bias = bias
        self.target_modules = target_modules
        self.target_parameters = target_parameters
        self.modules_to_save = modules_to_save
        self.use_rslora = use_rslora
        self.use_dora = use_dora
        self.fused = fused

    @override
    def _insert(self, net: PreTrainedModel) -> PeftModel:
        self._check_names(net)
        config = LoraConfig(
            task_type="CAUSAL_LM",
            r=self.lora_rank,
            lora_alpha=self.lora_alpha,
            lora_dropout=self.lora_dropout,
            bias=self.bias,
            target_modules=self.target_modules or "all-linear",
            target_parameters=self.target_parameters,
            modules_to_save=self.modules_to_save,
            use_rslora=self.use_rslora,
            use_dora=self.use_dora,
            revision=getattr(net, "base_revision", None),  # so that other programs load it over the same base
        )
        try:
            with quiet():
                adapted = get_peft_model(net, config)
        except ValueError as error:
            raise UserError(f"peft: {error}") from error
        if self.fused:
            fuse(adapted)
        _warn_of_what_is_left(net, config)
        return cast(PeftModel, adapted)

    def _check_names(self, net: PreTrainedModel) -> None:
        """Every name must fit something: PEFT asks only that one of them does."""
        modules, parameters = dict(net.named_modules()), dict(net.named_parameters())
        linear = sorted({name.rpartition(".")[2] for name, module in modules.items() if isinstance(module, nn.Linear)})
        choices = {
            "target_modules": (self.target_modules, modules, linear),
            "target_parameters": (self.target_parameters, parameters, stacked(net)),
            "modules_to_save": (self.modules_to_save, modules, linear),
        }
        faults = [
            f"peft.{key}: {name!r} is no part of {type(net).__name__}; it has {', '.join(known) or 'none'}"
            for key, (names, parts, known) in choices.items()
            for name in names or []
            if not any(f".{part}".endswith(f".{name}") for part in parts)
        ]
        if faults:
            raise UserError("\n".join(faults))


def stacked(net: nn.Module) -> list[str]:
    """The names of weights that hold several matrices, one for each expert of a mixture."""
    return sorted({name.rpartition(".")[2] for name, p in net.named_parameters() if p.ndim == 3} - {"weight"})


def _warn_of_what_is_left(net: PreTrainedModel, config: LoraConfig) -> None:
    """PEFT adapts the experts of some families by itself, not of all."""
    adapted = tuple(config.target_parameters or ())
    if left := [name for name in stacked(net) if not any(target.endswith(name) for target in adapted)]:
        log.warning(
            "the experts of %s are not adapted: peft.target_parameters=[%s] does it", type(net).__name__, ",".join(left)
        )
