"""The verb `evaluate`: what a trained model makes of held-out samples, beside its base or any other checkpoint."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, cast

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.core.errors import UserError
from mftcoder.core.rng import Seed
from mftcoder.core.terminal import terminal
from mftcoder.data.base import Data
from mftcoder.data.corpus.tables import Corpus
from mftcoder.data.corpus.tables import Split as Samples
from mftcoder.data.stream.collate import PaddingMode, collate
from mftcoder.engine.base import Engine
from mftcoder.engine.device import autocast
from mftcoder.evaluation.answering import Answerer
from mftcoder.evaluation.exam import Exam
from mftcoder.evaluation.held_out import HeldOut
from mftcoder.evaluation.results import write_results, write_samples
from mftcoder.evaluation.scores import chosen_metrics, scored
from mftcoder.evaluation.table import score_table
from mftcoder.metric.base import Answered, Metric
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.generation import Decoding
from mftcoder.model.loss_model import LossModel
from mftcoder.model.positions import check_length
from mftcoder.model.self_test import self_test
from mftcoder.quantization.base import Quantization
from mftcoder.storage.restored import FromRun, SavedModel, find, of_run
from mftcoder.template.base import Template

ASKED = ("loss", "perplexity", "exact_match", "edit_similarity")  # of tasks with questions
READ = ("loss", "perplexity", "bits_per_byte")  # of plain text

Split = Literal["auto", "train", "valid", "test"]


def evaluate(
    *,
    name: str,
    checkpoint: str | None,
    against: str | None,
    model: CausalLM | FromRun,
    quantization: Quantization | FromRun | None,
    template: Template | FromRun,
    data: Data | FromRun,
    seed: Seed | FromRun,
    split: Split,
    evaluation_samples: int | None,
    generation_samples: int | None,
    metric: dict[str, Metric],
    metrics: list[str] | dict[str, list[str]] | None,
    decoding: Decoding,
    num_return_sequences: int,
    per_device_eval_batch_size: int,
    cache_dir: str,
    engine: Engine,
    trusted_targets: list[str],
    run_dir: Path,
) -> float:
    """Print, and keep in results.json and samples.jsonl, what each task's held-out samples show of a model.

    Args:
        name: of the directory that runs go to.
        checkpoint: what is evaluated.
        against: what it is compared with, sample by sample: base, another checkpoint, or None.
        model, quantization, template, data, seed: as in the run of the checkpoint, or given.
        split: auto is test, or valid where no task has a test sample.
        evaluation_samples: the most samples of each task.
        generation_samples: the most of each task that are answered.
        metric: all metrics by name.
        metrics: names for all tasks, or by task; None for what suits the shape of a task's records.
        decoding: how answers are written.
        num_return_sequences: answers to each question.
        per_device_eval_batch_size: packs in a batch, and eight times as many questions.
        cache_dir: of tokenised data.
        engine: where it runs.
        trusted_targets: packages from which a checkpoint may take components, besides ours.
        run_dir: where the results go.

    Returns:
        The mean over the tasks of their losses in nats a token.

    Raises:
        UserError: where there is no such checkpoint, no run to ask for what is left to it, no sample in the split, or
            where two models do not read the same tokens.
    """
    found = partial(find, model=model, quantization=quantization, trusted=trusted_targets)
    trained = found(checkpoint)
    other = _other(against, trained, found)
    shown_seed = of_run("seed", seed, trained.weights, Seed)
    engine.start(seed=shown_seed)
    source: Data = of_run("data", data, trained.weights, Data, trusted=trusted_targets)
    check_length(trained.model.config(), source.seq_length)
    net, tokenizer = trained.load(engine.device)
    shown: Template = of_run("template", template, trained.weights, Template, trusted=trusted_targets)
    corpus = source.load(tokenizer=tokenizer, template=shown, cache_dir=Path(cache_dir))
    chosen_split = _split(corpus, split)
    exam = Exam(
        engine=engine,
        tasks=corpus.tasks,
        held_out=HeldOut(split=getattr(corpus, chosen_split), samples_per_task=evaluation_samples),
        generation_samples=0 if source.padding_mode == "concat" else generation_samples,
        collate=partial(collate, padding_mode=source.padding_mode, pad_id=tokenizer.pad_token_id),
        tokens_per_batch=per_device_eval_batch_size * source.seq_length,
    )
    by_task = _metrics(exam, metrics, metric)
    seat = Seat(
        engine=engine,
        tokenizer=tokenizer,
        template=shown,
        padding_mode=source.padding_mode,
        seq_length=source.seq_length,
        decoding=decoding,
        num_return_sequences=num_return_sequences,
        batch_size=8 * per_device_eval_batch_size,
    )
    answered = [task for task, own in by_task.items() if any(m.needs != "losses" for m in own.values())]
    label = checkpoint or "base"
    sat = {label: exam.sit(seat.take(net), answered)}
    del net
    for name_, subject in other.items():
        net, its = subject.load(engine.device)
        _refuse_other_tokens(tokenizer, its, name_)
        sat[name_] = exam.sit(seat.take(net), answered)
    return cast(float, engine.share(_told(sat, by_task, run_dir, chosen_split) if engine.rank == 0 else 0.0))


@dataclass(frozen=True, kw_only=True)
class Seat:
    """Where one model after the other sits the exam; the arguments are those of `evaluate` and of Answerer."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    template: Template
    padding_mode: PaddingMode
    seq_length: int
    decoding: Decoding
    num_return_sequences: int
    batch_size: int

    def take(self, net: PreTrainedModel | PeftModel) -> Answerer:
        """Make `net` the engine's model, in place of the one before."""
        whole = LossModel(net, loss_kernel="fused", packed=self.padding_mode != "padding", group=self.engine.group)
        precision = autocast(self.engine.mixed_precision, self.engine.device)
        self_test(whole, padding_mode=self.padding_mode, seq_length=self.seq_length, precision=precision)
        self.engine.model = whole
        return Answerer(
            engine=self.engine,
            net=net,
            tokenizer=self.tokenizer,
            decoding=self.decoding,
            num_return_sequences=self.num_return_sequences,
            batch_size=self.batch_size,
            ends=self.template.ends(self.tokenizer),
        )


def _other(against: str | None, trained: SavedModel, found: Callable[[str], SavedModel]) -> dict[str, SavedModel]:
    """The model that it is compared with, by its name; none where that is the model itself."""
    if against is None or (against == "base" and trained.weights is None):
        return {}
    if against == "base":
        return {"base": SavedModel(model=trained.model, quantization=trained.quantization, weights=None)}
    return {against: found(against)}


def _refuse_other_tokens(tokenizer: PreTrainedTokenizerBase, its: PreTrainedTokenizerBase, label: str) -> None:
    if its.get_vocab() != tokenizer.get_vocab():
        raise UserError(
            f"against={label}: its tokenizer has other tokens ({len(its):,} for {len(tokenizer):,}), so that losses "
            "would be of other targets; evaluate each model with against=null, and compare bits_per_byte"
        )


def _split(corpus: Corpus, split: Split) -> str:
    """The split that is meant. Raises UserError where it has no sample."""
    sizes = {name: _size(getattr(corpus, name)) for name in ("test", "valid", "train")}
    chosen = ("test" if sizes["test"] else "valid") if split == "auto" else split
    if sizes[chosen]:
        return chosen
    other = next((name for name, size in sizes.items() if size), "train")
    raise UserError(
        f"split={split}: no task has a sample in it; take split={other}, or train with "
        "data.data_split=[90,5,5], which holds samples out for both (what a run has trained on is no test of it)"
    )


def _size(split: Samples) -> int:
    return sum(split.num_samples(task) for task in range(split.num_tasks))


def _metrics(
    exam: Exam, metrics: list[str] | dict[str, list[str]] | None, known: dict[str, Metric]
) -> dict[str, dict[str, Metric]]:
    """The metrics of each task that has samples."""
    asking = set(exam.asks())
    present = [name for task, name in enumerate(exam.tasks) if exam.held_out.spread(task, None)]
    defaults = {name: [m for m in (ASKED if name in asking else READ) if m in known] for name in present}
    own = dict.fromkeys(present, metrics) if isinstance(metrics, list) else metrics or {}
    return chosen_metrics(own, known, defaults)


def _told(sat: dict[str, list[Answered]], metrics: dict[str, dict[str, Metric]], run_dir: Path, split: str) -> float:
    """Score what the models made of it, print it and keep it; the mean loss over the tasks."""
    names = list(sat)
    samples, before = sat[names[0]], sat[names[1]] if len(names) > 1 else None
    rows = scored(samples, before, metrics)
    means = {task: _loss([sample for sample in samples if sample.task == task]) for task in metrics}
    mean = sum(means.values()) / len(means)
    losses = {"valid/loss": mean, **{f"valid/loss/{task}": loss for task, loss in means.items()}}
    write_results(run_dir, rows, {"models": names, "split": split, "losses": losses})
    write_samples(run_dir, samples, before, names)
    terminal().print(score_table(rows, names, f"{split} split"))
    return mean


def _loss(samples: Sequence[Answered]) -> float:
    return sum(sample.nats for sample in samples) / sum(sample.tokens for sample in samples)
