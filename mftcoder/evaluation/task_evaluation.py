"""One model at the held-out samples: its loss on each, and its answers to some."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from mftcoder.core.batch import Batch, Sample
from mftcoder.engine.base import Engine
from mftcoder.evaluation.answering import PreparedModel
from mftcoder.evaluation.executing import with_tests
from mftcoder.evaluation.held_out import HeldOut, Reference, answer_of, losses
from mftcoder.metric.base import Answered, Metric


@dataclass(frozen=True, kw_only=True)
class TaskEvaluation:
    """The held-out samples of all tasks, the same for every model.

    Args:
        engine: whose processes do the work.
        tasks: names in the order of their ids.
        held_out: the samples.
        metrics: of each task that has samples, by name.
        tests: of samples, by task and key.
        collate: samples to a batch.
        tokens_per_batch: the most of a batch whose losses are taken.
        title: what it is called.
    """

    engine: Engine
    tasks: Sequence[str]
    held_out: HeldOut
    metrics: Mapping[str, Mapping[str, Metric]]
    tests: Mapping[tuple[str, str], str]
    collate: Callable[[Sequence[Sample]], Batch]
    tokens_per_batch: int
    title: str
    noun: str = "samples"

    def run(self, model: PreparedModel) -> list[Answered]:
        """What a model makes of the samples, task by task; on rank 0, and nothing elsewhere.

        Args:
            model: with its loss.
        """
        assert model.loss_model is not None
        found = losses(
            self.engine,
            model.loss_model,
            self.held_out,
            self.held_out.references,
            collate=self.collate,
            tokens_per_batch=self.tokens_per_batch,
        )
        asked = self._asked()
        samples = [self.held_out.sample(reference) for reference in asked]
        answers = model.answerer.answer([sample.ids[: answer_of(sample)[0]] for sample in samples], "answering")
        answers_to = dict(zip(asked, answers, strict=True))
        decode = model.answerer.tokenizer.decode
        return [
            replace(self._described(reference, decode), nats=nats, tokens=count, answers=answers_to.get(reference, ()))
            for reference, (nats, count) in sorted(found.items())
        ]

    def programs(self, samples: Sequence[Answered]) -> list[list[str]]:
        """The program of each answer whose record has tests."""
        return with_tests(samples, self.tests)

    def _asked(self) -> list[Reference]:
        """The questions of the tasks that have a metric of answers."""
        wanted = [task for task, own in self.metrics.items() if any(m.needs != "losses" for m in own.values())]
        return [reference for task in wanted for reference in self.held_out.questions(self.tasks.index(task))]

    def _described(self, reference: Reference, decode: Callable[..., str]) -> Answered:
        sample = self.held_out.sample(reference)
        start, end = answer_of(sample)
        targets = decode(sample.ids[sample.supervised].tolist(), skip_special_tokens=True)
        return Answered(
            task=self.tasks[reference[0]],
            key=str(reference[1]),
            prompt=decode(sample.ids[:start].tolist()),
            reference=decode(sample.ids[start:end].tolist(), skip_special_tokens=True),
            bytes=len(targets.encode("utf-8", "replace")),
        )
