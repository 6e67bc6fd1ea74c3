"""Low-rank adapters."""

from __future__ import annotations

import logging
from typing import Literal, cast

from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora.layer import LoraLayer, ParamWrapper
from torch import nn
from transformers import PreTrainedModel
from typing_extensions import override

from mftcoder.core.errors import UserError, raise_faults
from mftcoder.peft.base import Peft, quiet
from mftcoder.peft.fused_lora import fuse

log = logging.getLogger(__name__)


class LoRA(Peft):
    """W x becomes W x + (lora_alpha / lora_rank) B A x, with A random and B zero at first.

    Args:
        lora_rank: rows of A and columns of B.
        lora_alpha: see the formula.
        lora_dropout: rate at which x is dropped on its way into A; not over stacked experts.
        bias: which biases of the base train too.
        target_modules: names, or ends of names, of the modules to adapt; None: all linear layers but the output head,
            and the experts of mixtures.
        target_parameters: the same for weights that are no module, as stacked experts; None: as `train_experts` and
            `train_router` say.
        train_experts: adapt the experts of mixtures, wherever target_modules and target_parameters are None.
        train_router: adapt the layers that choose experts, where they are weights of their own; likewise.
        modules_to_save: modules to train whole and store with the adapter.
        use_rslora: scale by lora_alpha / sqrt(lora_rank).
        use_dora: train the norm of each column by itself; not over stacked experts.
        fused: compute plain adapted layers as one function.

    Raises:
        ValueError: a value is out of range, or target_parameters come with dropout or DoRA.

    Source: LoRA, arXiv:2106.09685; rsLoRA, arXiv:2312.03732; DoRA, arXiv:2402.09353.
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
        train_experts: bool,
        train_router: bool,
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
            raise ValueError(
                "peft.target_parameters: PEFT adapts these only with lora_dropout=0 and use_dora=false, "
                f"not with {lora_dropout} and {str(use_dora).lower()}"
            )
        self.lora_rank = lora_rank
        self.lora_alpha = lora_alpha
        self.lora_dropout = lora_dropout
        self.bias = bias
        self.target_modules = target_modules
        self.target_parameters = target_parameters
        self.train_experts = train_experts
        self.train_router = train_router
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
            target_parameters=self._parameters(net),
            exclude_modules=self._excluded(net),
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
        if self._chooses:
            _leave_out(adapted, experts=not self.train_experts, router=not self.train_router)
            wrapped = {m.parameter_name for m in adapted.modules() if isinstance(m, ParamWrapper)}
            targets = [target for target in config.target_parameters or () if target.rpartition(".")[2] in wrapped]
            config.target_parameters = targets or None
        if self.fused:
            fuse(adapted)
        if self.train_experts:
            _warn_of_what_is_left(net, config)
        return cast(PeftModel, adapted)

    @property
    def _chooses(self) -> bool:
        """Whether what to adapt is left to the switches."""
        return self.target_modules is None and self.target_parameters is None

    def _parameters(self, net: PreTrainedModel) -> list[str] | None:
        """Weights to adapt that are no module: PEFT by itself finds those of some families only."""
        if not self._chooses:
            return self.target_parameters
        found = [f"experts.{name}" for name in stacked(net)] if self.train_experts else []
        return [*found, *(f"{name}.weight" for name in routers(net) if self.train_router)] or None

    def _excluded(self, net: PreTrainedModel) -> list[str] | None:
        """Linear layers to leave alone: experts that were split, and routers that are plain layers."""
        if not self._chooses:
            return None
        modules = dict(net.named_modules())
        router = [name for name, m in modules.items() if _routes(name) and isinstance(m, nn.Linear)]
        experts = [name for name, m in modules.items() if ".experts." in name and isinstance(m, nn.Linear)]
        return [*(router if not self.train_router else ()), *(experts if not self.train_experts else ())] or None

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
        raise_faults(faults)


def stacked(net: nn.Module) -> list[str]:
    """The names of weights that hold several matrices, one for each expert of a mixture."""
    return sorted({name.rpartition(".")[2] for name, p in net.named_parameters() if p.ndim == 3} - {"weight"})


def routers(net: nn.Module) -> list[str]:
    """Full names of the layers that choose experts, where those have a weight of their own and are no linear layers."""
    found = ((name, getattr(module, "weight", None)) for name, module in net.named_modules() if _routes(name))
    return [name for name, weight in found if isinstance(weight, nn.Parameter) and weight.ndim == 2]


def _routes(name: str) -> bool:
    """Whether a module is called as transformers calls routers."""
    return name.rpartition(".")[2] in ("gate", "router")


def _leave_out(adapted: nn.Module, *, experts: bool, router: bool) -> None:
    """Take the adapters off the experts or the routers of families for which PEFT adds them by itself."""
    for parent in list(adapted.modules()):
        for name, child in list(parent.named_children()):
            outermost = isinstance(child, ParamWrapper) and not isinstance(parent, ParamWrapper)
            if outermost and (router if _routes(name) else experts):
                setattr(parent, name, cast(LoraLayer, child).get_base_layer())


def _warn_of_what_is_left(net: PreTrainedModel, config: LoraConfig) -> None:
    """Name the experts that are not adapted, although they were to be."""
    adapted = tuple(config.target_parameters or ())
    if left := [name for name in stacked(net) if not any(target.endswith(name) for target in adapted)]:
        log.warning(
            "the experts of %s are not adapted: peft.target_parameters=[%s] does it", type(net).__name__, ",".join(left)
        )
