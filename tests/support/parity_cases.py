"""Trains the same toy on any engine, on one rank or on one of several.

A setting is an engine, or one in a variant, as ddp/2 or fsdp2/whole.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from small_models import preset
from transformers import LlamaConfig, LlamaForCausalLM

from mftcoder.balancer.fixed import Fixed
from mftcoder.balancer.pcgrad import PCGrad
from mftcoder.core.batch import Sample
from mftcoder.data.stream.micro_batches import MicroBatcher
from mftcoder.engine.base import Engine
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.objective.sft import SFT
from mftcoder.peft.lora import LoRA
from mftcoder.quantization.nf4 import NF4
from mftcoder.storage import serialize
from mftcoder.training.loop import Trainer, steps

ROOT = Path(__file__).parents[2]
WORLD, STEPS, MIDDLE, TASKS, VOCABULARY = 2, 5, 3, 3, 40


@dataclass(frozen=True)
class Case:
    """How to train.

    micro_batches: of each rank in a step; together they hold 8 samples a rank. by_task: with the gradients of the tasks
    taken apart, which not all engines can. bf16: compute in bfloat16 over trained parameters in float32, with a frozen
    base in bfloat16, as on a GPU.
    """

    method: str
    micro_batches: int
    padding_mode: str = "pack"
    tied: bool = False
    gradient_checkpointing: bool = False
    max_grad_norm: float | None = 0.3
    by_task: bool = False
    bf16: bool = False

    def dtype(self, wide: str) -> str:
        """Of the model as it is loaded, `wide` where it is free."""
        if self.bf16:
            return "float32" if self.method == "full" else "bfloat16"
        return "float32" if self.method == "qlora" else wide


CASES = {
    "full-1": Case("full", 1, padding_mode="padding"),
    "full-4": Case("full", 4, tied=True, gradient_checkpointing=True),
    "full-unclipped": Case("full", 2, max_grad_norm=None),
    "lora-1": Case("lora", 1),
    "lora-4": Case("lora", 4, gradient_checkpointing=True),
    "qlora-1": Case("qlora", 1),
    "qlora-4": Case("qlora", 4),
    "by-task": Case("full", 4, by_task=True),
    "bf16-full": Case("full", 4, tied=True, gradient_checkpointing=True, bf16=True),
    "bf16-lora": Case("lora", 2, gradient_checkpointing=True, bf16=True),
    "bf16-qlora": Case("qlora", 1, bf16=True),
    "bf16-by-task": Case("full", 4, by_task=True, bf16=True),
}
BF16 = tuple(key for key, case in CASES.items() if case.bf16 and not case.by_task)


@dataclass(frozen=True)
class Variant:
    """What an engine is changed to, the cases that are run with it, and in how many processes."""

    changes: Mapping[str, Any]
    keys: Sequence[str] = (*(key for key, case in CASES.items() if not case.by_task and not case.bf16), *BF16)
    processes: int = WORLD


VARIANTS = {
    "": Variant({}),
    "2": Variant({"context_parallel": 2}, ("full-4", "lora-1", "qlora-4")),
    "2-of-4": Variant({"context_parallel": 2}, ("full-4", "by-task", "bf16-by-task"), processes=4),
    "whole": Variant({"accumulate_whole": True}, ("full-4", "lora-4")),
}


def variant(setting: str) -> Variant:
    return VARIANTS[setting.partition("/")[2]]


def cases(setting: str) -> dict[str, Case]:
    """Those that are run with a setting."""
    return {key: CASES[key] for key in variant(setting).keys}


def make_models(work: Path) -> None:
    """Two small llamas, with and without tied embeddings."""
    for tied in (False, True):
        torch.manual_seed(1)
        config = LlamaConfig(
            vocab_size=VOCABULARY, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
            num_key_value_heads=2, max_position_embeddings=64, tie_word_embeddings=tied, pad_token_id=0,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(work / f"model-{tied}")


def micro_batches(step: int, rank: int, number: int) -> list[list[Sample]]:
    """8 samples of uneven length as `number` micro-batches; rank 1 never has task 2, and its last has no targets."""
    rng = np.random.default_rng([step, rank])
    samples = []
    for index in range(8):
        length = int(rng.integers(3, 12))
        supervised = np.zeros(length, bool)
        if (rank, index) < (1, 6):
            supervised[int(rng.integers(1, length)) :] = True
        task = int(rng.integers(0, TASKS - rank))
        samples.append(Sample(rng.integers(1, VOCABULARY, length, dtype=np.int32), supervised, task, index))
    size = 8 // number
    return [samples[at : at + size] for at in range(0, 8, size)]


def adamw(model: torch.nn.Module) -> torch.optim.Optimizer:
    """With an eps that keeps rounding errors of tiny gradients small, and two groups as decay makes them."""
    trained = [(name, p) for name, p in model.named_parameters() if p.requires_grad]
    groups = [[p for name, p in trained if name.endswith("norm.weight") == norms] for norms in (False, True)]
    settings = [{"params": groups[0], "weight_decay": 0.1}, {"params": groups[1], "weight_decay": 0.0}]
    return torch.optim.AdamW([s for s in settings if s["params"]], lr=1e-2, eps=1e-4)


def make_engine(setting: str, **changes: Any) -> Engine:
    settings = {"device": "cpu", "mixed_precision": "no", **variant(setting).changes, **changes}
    return preset(f"engine/{setting.partition('/')[0]}", **settings)


class Objective(SFT):
    """Poisons the loss or the totals of rank 1, or of the only rank, when told to."""

    poison: str | None = None

    def losses(self, *args: Any) -> Any:
        loss, totals = super().losses(*args)
        if self.poison == "loss":
            loss = loss * float("nan")
        return loss, totals * float("inf") if self.poison == "totals" else totals


def make_trainer(engine: Engine, case: Case, dtype: str, work: Path) -> Trainer:
    """Everything as the verb train puts it together."""
    engine.mixed_precision = "bf16" if case.bf16 else "no"
    model = CausalLM(
        pretrained_model_path=str(work / f"model-{case.tied}"), local_copy=None, revision=None, trust_remote_code=False,
        dtype=case.dtype(dtype), attn_implementation=None,
        gradient_checkpointing=case.gradient_checkpointing, dropout=0.0,
    )  # fmt: skip
    lora = LoRA(
        lora_rank=4, lora_alpha=8, lora_dropout=0.0, bias="none", target_modules=None, target_parameters=None,
        train_experts=False, train_router=False,
        modules_to_save=None, use_rslora=False, use_dora=False, fused=True,
    )  # fmt: skip
    nf4 = NF4(double_quant=True, compute_dtype="auto", quant_storage="auto") if case.method == "qlora" else None
    with engine.building():
        net = model.load(nf4, engine.device, frozen=case.method != "full")
        net = net if case.method == "full" else lora.adapt(net)
        whole = LossModel(net, loss_kernel="fused", packed=case.padding_mode == "pack", group=engine.group)
    engine.prepare(whole, adamw)
    balancer = PCGrad(seed=0) if case.by_task else Fixed(task_weights=[3.0, 1.0, 2.0])
    balancer.start([f"task{t}" for t in range(TASKS)])
    return Trainer(
        engine=engine,
        objective=Objective(reduction="token", normalization="step", loss_kernel="fused"),
        balancer=balancer,
        batcher=MicroBatcher(padding_mode=case.padding_mode, pad_id=0, rank=0, ranks=1),
        learning_rate=lambda peak, step: peak * (1 - step / 10),
        max_grad_norm=case.max_grad_norm,
        priors=lambda: torch.ones(TASKS, dtype=torch.float64),
        expected=lambda: None,
        probe=None,
        diagnostics_steps=None,
    )


def run(trainer: Trainer, case: Case, first: int, last: int) -> Iterator[dict[str, Any]]:
    """Train on this rank's share of the samples, or on both shares where there is but one."""
    engine = trainer.engine
    numbers = iter(range(first, last))

    def take() -> list[list[Sample]]:
        number = next(numbers)
        ranks = [engine.data_rank] if engine.data_ranks > 1 else range(WORLD)
        return [batch for rank in ranks for batch in micro_batches(number, rank, case.micro_batches)]

    for report in steps(trainer, first, last, take):
        yield {
            "loss": report.loss,
            "losses": report.losses.mean.tolist(),
            "counts": report.losses.count.tolist(),
            "effective": trainer.effective.mean.tolist(),
            "grad_norm": report.grad_norm,
            "skipped": report.skipped,
        }


def save(engine: Engine, directory: Path) -> None:
    """The state that any engine can go on with."""
    weights, state = engine.weights(), engine.state_dict()
    if engine.rank == 0:
        directory.mkdir(parents=True)
        save_file(weights, directory / "weights.safetensors")
        serialize.write(directory, "optimizer", serialize.encode(state))


def load(engine: Engine, directory: Path) -> None:
    """Go on with what some engine saved."""
    engine.load_weights(load_file(directory / "weights.safetensors"))
    engine.load_state_dict(serialize.read(directory, "optimizer"))


def train(trainer: Trainer, case: Case, out: Path) -> None:
    """Five steps, two that are not finite, and one more; the state after the third, the fifth and the last in `out`."""
    engine, objective = trainer.engine, trainer.objective
    reports = list(run(trainer, case, 0, MIDDLE))
    save(engine, out / "middle")
    reports += run(trainer, case, MIDDLE, STEPS)
    save(engine, out / "last")
    for objective.poison in ("loss", "totals") if engine.rank == engine.world_size - 1 else (None, None):
        reports += run(trainer, case, STEPS, STEPS + 1)
    objective.poison = None
    save(engine, out / "refused")
    reports += run(trainer, case, STEPS, STEPS + 1)
    save(engine, out / "after")
    if engine.rank == 0:
        (out / "reports.json").write_text(json.dumps(reports))


def resume(trainer: Trainer, case: Case, source: Path, out: Path) -> None:
    """The last two steps after another engine's first three."""
    load(trainer.engine, source / "middle")
    list(run(trainer, case, MIDDLE, STEPS))
    save(trainer.engine, out / "resumed")


def reference(work: Path, dtype: str, key: str) -> Path:
    """What one process made of a case; those in bf16 are the same whatever the others are computed in."""
    return work / ("single-bf16" if CASES[key].bf16 else f"single-{dtype}") / key


def on_this_rank(setting: str, dtype: str, work: Path) -> None:
    """All cases of a setting, and what each makes of the state that one process has saved."""
    engine = make_engine(setting)
    engine.start(seed=0)
    for key, case in cases(setting).items():
        out = work / setting.replace("/", "-") / key
        train(make_trainer(engine, case, dtype, work), case, out)
        if not case.bf16:
            resume(make_trainer(engine, case, dtype, work), case, reference(work, dtype, key), out)
    engine.finish()
