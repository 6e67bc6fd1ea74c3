"""Finds the span of each turn in the output of an arbitrary chat template."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple, Protocol

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import UserError
from mftcoder.template.base import any_of

OPEN, CLOSE = "\U0010f000", "\U0010f001"  # private characters, which texts do not use
MARKED = re.compile(f"{OPEN}([^{OPEN}{CLOSE}]*){CLOSE}")

Span = tuple[int, int]


class Render(Protocol):
    """Renders a dialogue; with `asking`, with what the template adds to ask for an answer."""

    def __call__(self, dialogue: Dialogue, *, asking: bool = False) -> str:
        """The whole text."""


class AnswerFrame(NamedTuple):
    """How a template frames answers.

    Attributes:
        opening: what it adds to ask for an answer; empty if nothing.
        closing: the control tokens that end one.
    """

    opening: str
    closing: frozenset[str]


def observe(render: Render, control: re.Pattern[str]) -> AnswerFrame:
    """Finds out how a template frames answers, from how it renders a few small dialogues.

    Args:
        render: the template.
        control: matches control tokens.

    Raises:
        UserError: no control token ends an answer.
    """
    ask, answer = Turn("user", "?"), Turn("assistant", OPEN)
    question = Dialogue((ask,), "")
    plain, asked = render(question), render(question, asking=True)
    texts = [render(Dialogue(turns, "")) for turns in ((ask, answer), (ask, answer, ask))]
    ends = [control.search(text, text.find(OPEN)) for text in texts]
    closing = frozenset(end[0] for end in ends if end)
    if not closing:
        raise UserError(
            "the chat template ends answers with no control token, so that a model would not learn to stop: "
            f"{texts[0][-40:]!r}"
        )
    return AnswerFrame(asked.removeprefix(plain) if asked.startswith(plain) else "", closing)


def derived(dialogue: Dialogue, text: str, render: Render, manner: AnswerFrame) -> list[Span]:
    """The spans of the answers, each with the control token that ends it.

    Args:
        dialogue: that was rendered.
        text: the rendering.
        render: the template.
        manner: how it frames answers.

    Raises:
        ValueError: an answer cannot be told from the rest.
    """
    answers = [i for i, turn in enumerate(dialogue.turns) if turn.role == "assistant"]
    starts = list(found(manner.opening, text) if manner.opening else after_questions(dialogue, answers, text, render))
    if len(starts) != len(answers):
        raise ValueError(
            f"the chat template asks for an answer by {manner.opening!r}, which stands {len(starts)} times in the "
            f"dialogue, for {len(answers)} answers: what is learnt cannot be told (mark it with {{% generation %}})"
        )
    closing = any_of(manner.closing)
    spans = []
    for i, start, following in zip(answers, starts, [*starts[1:], len(text)], strict=True):
        words = dialogue.turns[i].content.strip()
        at = text.find(words, start, following)
        end = closing.search(text, max(start, at + len(words)), following)
        if end is None:
            ends = " or ".join(sorted(manner.closing))
            raise ValueError(f"turn {i + 1}: the chat template does not end this answer with {ends}")
        spans.append((start, end.end()))
    return spans


def found(opening: str, text: str) -> Iterator[int]:
    """Where each occurrence of `opening` ends."""
    return (match.end() for match in re.finditer(re.escape(opening), text))


def after_questions(dialogue: Dialogue, answers: Sequence[int], text: str, render: Render) -> Iterator[int]:
    """Where each answer begins, for a template that writes nothing to ask for one: after all that is before it."""
    for i in answers:
        before = render(replace(dialogue, turns=dialogue.turns[:i]), asking=True)
        if not text.startswith(before):
            raise ValueError(
                f"the chat template shows the turns before turn {i + 1} otherwise once it is there: "
                "what is learnt cannot be told (mark it with {% generation %})"
            )
        yield len(before)


def marked(dialogue: Dialogue, text: str, render: Render, control: re.Pattern[str]) -> list[Span]:
    """The spans of the words of all turns but the answers, each with a control token right after it.

    They are found by rendering once more with marks around the words.

    Raises:
        ValueError: the template shows them changed, or not at all.
    """
    if any(OPEN in turn.content or CLOSE in turn.content for turn in dialogue.turns):
        raise ValueError(f"holds a private character, {OPEN!r} or {CLOSE!r}, that marks the words of turns")
    turns = [turn if turn.role == "assistant" else between_marks(turn) for turn in dialogue.turns]
    shown = render(replace(dialogue, turns=tuple(turns)))
    spans = [(m.start() - 2 * k, m.end() - 2 * (k + 1)) for k, m in enumerate(MARKED.finditer(shown))]
    expected = sum(turn.role != "assistant" for turn in turns)
    if len(spans) != expected or shown.replace(OPEN, "").replace(CLOSE, "") != text:
        raise ValueError(
            f"the chat template shows {len(spans)} of {expected} questions whole, or changes with their words"
        )
    ends = [control.match(text, stop) for _, stop in spans]
    return [(start, end.end() if end else stop) for (start, stop), end in zip(spans, ends, strict=True)]


def between_marks(turn: Turn) -> Turn:
    """The words of a turn between marks; the space around them stays outside, where templates may trim it."""
    words = turn.content.strip()
    before, after = turn.content.split(words, 1) if words else (turn.content, "")
    return replace(turn, content=f"{before}{OPEN}{words}{CLOSE}{after}")


def merged(dialogue: Dialogue, answers: Sequence[Span], others: Sequence[Span]) -> list[Span]:
    """The spans of all turns, in the order of the dialogue."""
    number = sum(turn.role == "assistant" for turn in dialogue.turns)
    if len(answers) != number:
        raise ValueError(
            f"the chat template marks {len(answers)} stretches with {{% generation %}}, for {number} answers"
        )
    spans = {True: iter(answers), False: iter(others)}
    return [next(spans[turn.role == "assistant"]) for turn in dialogue.turns]
