"""The verb `evaluate`: what a trained model makes of held-out samples, beside its base or any other checkpoint."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from mftcoder.benchmark.base import Benchmark
from mftcoder.core.errors import UserError
from mftcoder.core.rng import Seed
from mftcoder.data.base import Data
from mftcoder.data.stream.collate import PaddingMode
from mftcoder.engine.base import Engine
from mftcoder.engine.device import autocast
from mftcoder.evaluation.answering import Answerer, PreparedModel
from mftcoder.evaluation.reporting import report_scores
from mftcoder.evaluation.settings import EvaluationSettings, Split
from mftcoder.metric.base import Metric
from mftcoder.model.causal_lm import CausalLM
from mftcoder.model.forward.loss_model import LossModel
from mftcoder.model.forward.self_test import self_test
from mftcoder.model.generation import Decoding
from mftcoder.model.positions import check_length
from mftcoder.quantization.base import Quantization
from mftcoder.sandbox.sandbox import Sandbox
from mftcoder.storage.restored import FromRun, SavedModel, find, of_run
from mftcoder.template.base import Template


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
    benchmark: Benchmark | None,
    metric: dict[str, Metric],
    metrics: list[str] | dict[str, list[str]] | None,
    decoding: Decoding,
    num_return_sequences: int,
    allow_code_execution: bool,
    sandbox: Sandbox,
    gate: dict[str, dict[str, float]] | None,
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
        benchmark: whose problems are settings, in place of held-out samples.
        metric: all metrics by name.
        metrics: names for all tasks, or by task; None for what suits the shape of a task's records.
        decoding: how answers are written.
        num_return_sequences: answers to each question.
        allow_code_execution: whether answers may be run.
        sandbox: where they are.
        gate: the least change of a task's score, by task and metric; negative for worse.
        per_device_eval_batch_size: packs in a batch, and eight times as many questions.
        cache_dir: of tokenised data.
        engine: where it runs.
        trusted_targets: packages from which a checkpoint may take components, besides ours.
        run_dir: where the results go.

    Returns:
        The mean over the tasks of their losses in nats a token; of a benchmark, its first score.

    Raises:
        UserError: where there is no such checkpoint, no run to ask for what is left to it, no sample in the split, or
            where two models do not read the same tokens.
        GateFailed: where the model does not pass the gate.
    """
    found = partial(find, model=model, quantization=quantization, trusted=trusted_targets)
    trained = found(checkpoint)
    other = _other(against, trained, found)
    engine.start(seed=of_run("seed", seed, trained.weights, Seed))
    settings = EvaluationSettings(
        benchmark=benchmark,
        split=split,
        evaluation_samples=evaluation_samples,
        generation_samples=generation_samples,
        known=metric,
        metrics=metrics,
        num_return_sequences=num_return_sequences,
        allow_code_execution=allow_code_execution,
        tokens_per_batch=per_device_eval_batch_size,
    )
    settings.refuse(decoding, gate or {}, engine, compared=bool(other))
    shown: Template = of_run("template", template, trained.weights, Template, trusted=trusted_targets)
    source: Data | None = None
    if benchmark is None:
        source = of_run("data", data, trained.weights, Data, trusted=trusted_targets)
        check_length(trained.model.config(), source.seq_length)
    net, tokenizer = trained.load(engine.device)
    evaluation = settings.evaluation(source, shown, tokenizer, engine, Path(cache_dir))
    preparation = ModelPreparation(
        engine=engine,
        tokenizer=tokenizer,
        template=shown,
        padding_mode=None if source is None else source.padding_mode,
        seq_length=0 if source is None else source.seq_length,
        decoding=decoding,
        num_return_sequences=num_return_sequences,
        batch_size=8 * per_device_eval_batch_size,
        stop=benchmark.stop if benchmark is not None and benchmark.prompting == "raw" else [],
    )
    results = {checkpoint or "base": evaluation.run(preparation.prepared(net))}
    del net
    for label, subject in other.items():
        net, its = subject.load(engine.device)
        _refuse_other_tokens(tokenizer, its, label)
        results[label] = evaluation.run(preparation.prepared(net))
    runs = sandbox if allow_code_execution else None
    return cast(
        float, engine.share(report_scores(evaluation, results, runs, gate or {}, run_dir) if engine.rank == 0 else 0.0)
    )


@dataclass(frozen=True, kw_only=True)
class ModelPreparation:
    """Makes one model after the other ready to be evaluated; the arguments are those of `evaluate` and of Answerer."""

    engine: Engine
    tokenizer: PreTrainedTokenizerBase
    template: Template
    padding_mode: PaddingMode | None
    seq_length: int
    decoding: Decoding
    num_return_sequences: int
    batch_size: int
    stop: list[str]

    def prepared(self, net: PreTrainedModel | PeftModel) -> PreparedModel:
        """`net` with its loss and what writes its answers."""
        answerer = Answerer(
            engine=self.engine,
            net=net,
            tokenizer=self.tokenizer,
            decoding=self.decoding,
            num_return_sequences=self.num_return_sequences,
            batch_size=self.batch_size,
            ends=self.template.ends(self.tokenizer),
            stop=self.stop,
        )
        return PreparedModel(answerer, self._with_loss(net))

    def _with_loss(self, net: PreTrainedModel | PeftModel) -> LossModel | None:
        """The tested model; without data there are no losses to take."""
        if self.padding_mode is None:
            return None
        model = LossModel(net, loss_kernel="fused", packed=self.padding_mode != "padding", group=self.engine.group)
        precision = autocast(self.engine.mixed_precision, self.engine.device)
        self_test(model, padding_mode=self.padding_mode, seq_length=self.seq_length, precision=precision)
        return model


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
