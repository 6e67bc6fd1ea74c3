"""One model at the held-out samples: its loss on each, and its answers to some."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from mftcoder.core.batch import Batch, Sample
from mftcoder.engine.base import Engine
from mftcoder.evaluation.answering import Answerer
from mftcoder.evaluation.held_out import HeldOut, Reference, answer_of, losses
from mftcoder.metric.base import Answered


@dataclass(frozen=True, kw_only=True)
class Exam:
    """The same for every model that sits it.

    Args:
        engine: whose processes do the work.
        tasks: names in the order of their ids.
        held_out: the samples.
        generation_samples: the most of each task that are answered; None for all, 0 for none.
        collate: samples to a batch.
        tokens_per_batch: the most of a batch whose losses are taken.
    """

    engine: Engine
    tasks: Sequence[str]
    held_out: HeldOut
    generation_samples: int | None
    collate: Callable[[Sequence[Sample]], Batch]
    tokens_per_batch: int

    def sit(self, answerer: Answerer, answered: Sequence[str]) -> list[Answered]:
        """What the engine's model makes of the samples, task by task; on rank 0, and nothing elsewhere.

        Args:
            answerer: of the same model.
            answered: names of the tasks whose questions are to be answered.
        """
        found = losses(
            self.engine,
            self.held_out,
            self.held_out.references,
            collate=self.collate,
            tokens_per_batch=self.tokens_per_batch,
        )
        asked = [reference for task in answered for reference in self.questions(self.tasks.index(task))]
        samples = [self.held_out.sample(reference) for reference in asked]
        answers = answerer.answer([sample.ids[: answer_of(sample)[0]] for sample in samples], "answering")
        answers_to = dict(zip(asked, answers, strict=True))
        decode = answerer.tokenizer.decode
        rows = [self._described(reference, decode) for reference in sorted(found)]
        return [
            replace(row, nats=nats, tokens=count, answers=answers_to.get(reference, ()))
            for row, (reference, (nats, count)) in zip(rows, sorted(found.items()), strict=True)
        ]

    def questions(self, task: int) -> list[Reference]:
        """The samples of a task that ask for an answer, as many as are to be answered."""
        spread = self.held_out.spread(task, self.generation_samples)
        return [reference for reference in spread if answer_of(self.held_out.sample(reference))[0] > 1]

    def asks(self) -> Iterator[str]:
        """The tasks with such samples."""
        yield from (name for task, name in enumerate(self.tasks) if self.questions(task))

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
