"""What is measured: the settings of an evaluation, and the samples and metrics that they come to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from mftcoder.benchmark.base import Benchmark
from mftcoder.core.errors import UserError, raise_faults
from mftcoder.data.base import Data
from mftcoder.data.corpus.tables import Corpus
from mftcoder.data.corpus.tables import Split as Samples
from mftcoder.data.mixture import Mixture, Task
from mftcoder.data.stream.collate import collate
from mftcoder.engine.base import Engine
from mftcoder.evaluation.benchmark_evaluation import BenchmarkEvaluation
from mftcoder.evaluation.executing import record_tests
from mftcoder.evaluation.held_out import HeldOut
from mftcoder.evaluation.scores import chosen_metrics
from mftcoder.evaluation.task_evaluation import TaskEvaluation
from mftcoder.metric.base import Metric
from mftcoder.metric.pass_at_k import PassAtK
from mftcoder.model.generation import Decoding
from mftcoder.template.base import Template

Split = Literal["auto", "train", "valid", "test"]

ASKED = ("loss", "perplexity", "exact_match", "edit_similarity")  # of tasks with questions
READ = ("loss", "perplexity", "bits_per_byte")  # of plain text
RUN = ("execution",)  # besides, of tasks with tests


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """The arguments of `evaluate` that say what is measured; known are all metrics by name."""

    benchmark: Benchmark | None
    split: Split
    evaluation_samples: int | None
    generation_samples: int | None
    known: Mapping[str, Metric]
    metrics: list[str] | dict[str, list[str]] | None
    num_return_sequences: int
    allow_code_execution: bool
    tokens_per_batch: int

    def refuse(self, decoding: Decoding, gate: Mapping[str, Any], engine: Engine, *, compared: bool) -> None:
        """Raise UserError for all that cannot be, before a model is loaded.

        Args:
            decoding: how answers are written.
            gate: see `evaluate`.
            engine: where it runs.
            compared: whether there is another model.
        """
        faults = list(self._faults(decoding))
        if gate and not compared:
            faults.append(
                "gate: there is no other model to compare with; give checkpoint=…, and against=base or another"
            )
        if gate and engine.world_size > 1:
            faults.append(f"gate: {engine.world_size} processes would end with exit code 1; take engine=single")
        raise_faults(faults)

    def _faults(self, decoding: Decoding) -> Iterator[str]:
        named = self.metrics.values() if isinstance(self.metrics, dict) else [self.metrics or []]
        names = {name for own in named for name in own}
        runs = sorted(name for name in names if name in self.known and self.known[name].needs == "execution")
        if self.benchmark is not None and not names:
            runs = ["pass_at_k"]
        number = self.num_return_sequences
        if runs and not self.allow_code_execution:
            yield (
                f"metrics: {', '.join(runs)} would run what the model writes; allow_code_execution=true allows it, in "
                "a sandbox without network and files"
            )
        if number < 1 or (number > 1 and not decoding.do_sample):
            yield f"num_return_sequences: {number} answers need decoding.do_sample=true, without which all are the same"
        for name in runs:
            metric = self.known.get(name)
            if isinstance(metric, PassAtK) and max(metric.k) > number:
                yield f"metric.{name}.k: {metric.k} needs as many answers; give num_return_sequences={max(metric.k)}"

    def evaluation(
        self,
        data: Data | None,
        template: Template,
        tokenizer: PreTrainedTokenizerBase,
        engine: Engine,
        cache_dir: Path,
    ) -> TaskEvaluation | BenchmarkEvaluation:
        """The benchmark's problems, or the held-out samples of the data.

        Args:
            data: of the held-out samples, None with a benchmark.
            template: of dialogues.
            tokenizer: of the models.
            engine: where it runs.
            cache_dir: of tokenised data.

        Raises:
            UserError: where no sample is held out, or for metrics and tasks that there are not.
        """
        if self.benchmark is not None:
            name = self.benchmark.name
            own = chosen_metrics(self._own([name], {}), self.known, {name: ["pass_at_k"]})
            return BenchmarkEvaluation(benchmark=self.benchmark, template=template, metrics=own)
        assert data is not None
        corpus = data.load(tokenizer=tokenizer, template=template, cache_dir=cache_dir)
        split = chosen_split(corpus, self.split)
        answerable = data.padding_mode != "concat"  # There, samples are cut anywhere.
        held_out = HeldOut(
            split=getattr(corpus, split),
            samples_per_task=self.evaluation_samples,
            questions_per_task=self.generation_samples if answerable else 0,
        )
        said = data.tasks if isinstance(data, Mixture) else {}
        tests = self._tests(data, corpus.tasks, held_out, cache_dir) if answerable else {}
        return TaskEvaluation(
            engine=engine,
            tasks=corpus.tasks,
            held_out=held_out,
            metrics=self._metrics(corpus.tasks, held_out, {task for task, _ in tests}, said),
            tests=tests,
            collate=partial(collate, padding_mode=data.padding_mode, pad_id=tokenizer.pad_token_id),
            tokens_per_batch=self.tokens_per_batch * data.seq_length,
            title=f"{split} split",
        )

    def _tests(self, data: Data, tasks: list[str], held_out: HeldOut, cache_dir: Path) -> dict[tuple[str, str], str]:
        """The tests of samples, where they may be run."""
        if not self.allow_code_execution or not isinstance(data, Mixture):
            return {}
        keys = {int(held_out.split.keys(task)[index]): (task, index) for task, index in held_out.references}
        return record_tests(data, tasks, keys, cache_dir)

    def _metrics(
        self, tasks: list[str], held_out: HeldOut, tested: set[str], said: Mapping[str, Task]
    ) -> dict[str, dict[str, Metric]]:
        """The metrics of each task that has samples; of those with nothing said, by the shape of their records."""
        defaults: dict[str, list[str]] = {}
        for task, name in enumerate(tasks):
            if held_out.spread(task, None):
                shape = [*ASKED, *(RUN if name in tested else ())] if held_out.questions(task) else READ
                defaults[name] = [metric for metric in shape if metric in self.known]
        chosen = chosen_metrics(self._own(list(defaults), said), self.known, defaults)
        run = [task for task, own in chosen.items() if any(m.needs == "execution" for m in own.values())]
        untested = [task for task in run if task not in tested]
        if untested:
            raise UserError(
                f"metrics: execution of {', '.join(untested)} needs tests in the records of its held-out samples "
                "(under tests, test or test_list), and allow_code_execution=true"
            )
        return chosen

    def _own(self, tasks: list[str], said: Mapping[str, Task]) -> dict[str, list[str]]:
        """The names that were given, by task: here, or else where the tasks of the data are described."""
        if isinstance(self.metrics, list):
            return dict.fromkeys(tasks, self.metrics)
        described = {task: said[task]["metrics"] for task in tasks if "metrics" in said.get(task, Task())}
        return described | (self.metrics or {})


def chosen_split(corpus: Corpus, split: Split) -> str:
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
