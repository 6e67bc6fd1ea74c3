"""What the verb `train` puts a run together with."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.core.errors import Preempted, UserError
from mftcoder.core.layers import compile_layers
from mftcoder.core.progress import Progress
from mftcoder.core.rng import Generators
from mftcoder.core.state import State, Stateful, Weights
from mftcoder.data.base import Data
from mftcoder.data.corpus.tables import Corpus, Split
from mftcoder.data.stream.micro_batches import MicroBatcher
from mftcoder.data.stream.sampler import Sampler
from mftcoder.engine.base import Engine
from mftcoder.engine.device import autocast, keep_freed_memory
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.forward.self_test import self_test
from mftcoder.objective.base import Objective
from mftcoder.peft.base import Peft
from mftcoder.quantization.base import Quantization
from mftcoder.training.decay import decay_groups
from mftcoder.training.monitoring.anomalies import Anomalies
from mftcoder.training.monitoring.validation import Validator
from mftcoder.training.settings import EvaluationSettings, StepSettings

log = logging.getLogger(__name__)


@contextmanager
def joined(engine: Engine, *, seed: int) -> Iterator[None]:
    """Among the other ranks; left together with them, but after an error at once, since they may never answer."""
    engine.start(seed=seed)
    if engine.device.type == "cpu":
        keep_freed_memory()
    try:
        yield
    except Preempted as stop:
        if stop.together:
            engine.finish()
        raise
    engine.finish()


def facts_of(model: CausalLM, corpus: Corpus, settings: StepSettings, *, packs_per_step: int) -> dict[str, Any]:
    """What a checkpoint keeps beside the configuration, to be compared by the run that resumes from it."""
    return {
        "packs_per_step": packs_per_step,
        "gradient_accumulation_steps": settings.gradient_accumulation_steps,
        "data": corpus.digests(),
        "base": {"source": model.source(), "commit": model.commit()},
    }


def planned_steps(settings: StepSettings, sampler: Sampler) -> int:
    """Where the run ends: as the settings say, or earlier where the data give no more.

    Raises:
        UserError: the data do not give a single step.
    """
    wanted = settings.max_train_steps
    total = sampler.steps(settings.num_train_epochs) if wanted is None else sampler.clipped(wanted)
    limit = "with each task repeated as often as data.tasks.<task>.repeat allows"
    if not total:
        raise UserError(f"the data do not fill one step, {limit}; allow more, or make the global batch smaller")
    if wanted is not None and total < wanted:
        log.info("training.max_train_steps: %d, but the data give %d, %s; the run ends there", wanted, total, limit)
    return total


def load_model(
    model: CausalLM, quantization: Quantization | None, peft: Peft | None, engine: Engine
) -> PreTrainedModel | PeftModel:
    """The model with its adapter."""
    with engine.building():
        net = model.load(quantization, engine.device, frozen=peft is not None)
        return net if peft is None else peft.adapt(net)


def with_loss(
    net: PreTrainedModel | PeftModel, *, objective: Objective, data: Data, engine: Engine, compiled: bool
) -> LossModel:
    """The model with its loss, tested."""
    whole = LossModel(net, loss_kernel=objective.loss_kernel, packed=data.padding_mode != "padding", group=engine.group)
    if compiled:
        compile_layers(net)
    precision = autocast(engine.mixed_precision, engine.device)
    self_test(whole, padding_mode=data.padding_mode, seq_length=data.seq_length, precision=precision)
    return whole


def make_optimizer(optimizer: Callable[..., torch.optim.Optimizer], net: nn.Module) -> torch.optim.Optimizer:
    """The configured optimizer, a partial of its class, over what trains in `net`."""
    decay = getattr(optimizer, "keywords", {}).get("weight_decay", 0.0)
    return optimizer(decay_groups(net.named_parameters(), decay))


def make_batcher(data: Data, tokenizer: PreTrainedTokenizerBase, engine: Engine) -> MicroBatcher:
    """This rank's micro-batches."""
    return MicroBatcher(
        padding_mode=data.padding_mode,
        pad_id=tokenizer.pad_token_id,
        rank=engine.data_rank,
        ranks=engine.data_ranks,
    )


def make_validator(
    settings: EvaluationSettings,
    split: Split,
    batcher: MicroBatcher,
    engine: Engine,
    *,
    seq_length: int,
    trained: Sequence[bool],
) -> Validator:
    """Of the model that the engine has prepared."""
    return Validator(
        engine=engine,
        model=engine.model,
        split=split,
        batcher=batcher,
        tokens_per_batch=settings.per_device_eval_batch_size * seq_length,
        samples_per_task=settings.evaluation_samples,
        trained=trained,
    )


def make_state(
    weights: Weights, progress: Progress, engine: Engine, anomalies: Anomalies, components: Mapping[str, Stateful]
) -> State:
    """All that a checkpoint holds."""
    rng = Generators(rank=engine.rank, gather=engine.gather)
    return State(weights, progress, {"optimizer": engine, **components, "rng": rng, "anomalies": anomalies})
