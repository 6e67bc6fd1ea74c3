"""Templates written in Jinja: the loss mask is derived from the boundaries of the turns in the rendered text."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import jinja2
from transformers import PreTrainedTokenizerBase
from transformers.utils.chat_template_utils import render_jinja_template

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import UserError
from mftcoder.template.base import Sanitize, Segment, Template, TrainOn, any_of
from mftcoder.template.boundaries import AnswerFrame, Span, derived, marked, merged, observe

RESOURCES = (OverflowError, RecursionError, MemoryError, ZeroDivisionError)
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")


class Rendered(Template):
    """A Jinja chat template.

    Answers are what the template marks with {% generation %}. Where it marks nothing, an answer begins after the text
    that the template adds to ask for one, and ends with the control token that the template ends answers with: what
    the model will have to write. The words of other turns are found by marking them and rendering once more. A
    dialogue in which these cannot be told is refused.

    Args:
        variables: what else the template is given, as {enable_thinking: false}.
        train_on: see `Template`.
        sanitize: see `Template`.
    """

    def __init__(self, *, variables: dict[str, Any], train_on: TrainOn, sanitize: Sanitize) -> None:
        super().__init__(tokenization="whole", train_on=train_on, sanitize=sanitize)
        self.variables = variables

    @abstractmethod
    def source(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The Jinja text of the template."""

    def chat(self, dialogue: Dialogue, trained: list[bool], tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """The rendered text, cut at the boundaries of what each turn says."""
        text = self.text(dialogue, tokenizer=tokenizer)
        render = partial(self.text, tokenizer=tokenizer)
        refuse_unseen_tools(dialogue, text, render)
        if GENERATION.search(self.source(dialogue, tokenizer)):
            answers = self.tagged(dialogue, tokenizer)
        else:
            answers = derived(dialogue, text, render, manner(self, tokenizer))
        said = merged(dialogue, answers, marked(dialogue, text, render, controls(tokenizer)))
        frames = self.train_on == "all"
        segments: list[Segment] = []
        at = 0
        for i, (start, stop) in enumerate(said):
            if start < at:
                raise ValueError(f"the template shows turn {i + 1} before what ends the turn before it")
            after = next((k for k in range(stop, len(text)) if not text[k].isspace()), len(text))
            segments += [Segment(text[at:start], frames, i), Segment(text[start:stop], trained[i], i)]
            segments.append(Segment(text[stop:after], frames, i))
            at = after
        return [*segments, Segment(text[at:], frames, len(said) - 1)]

    def ends(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
        """The control tokens that were seen to end answers."""
        return manner(self, tokenizer).closing

    def jinja(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """The same text, with the variables as defaults."""
        source = self.source(Dialogue(turns=(), origin=""), tokenizer)
        defaults = "".join(
            f"{{%- set {name} = {name} if {name} is defined else {value!r} -%}}"
            for name, value in self.variables.items()
        )
        return f"{defaults}{{{{- '' }}}}{source}" if defaults else source

    def question(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The turns, and what the template adds to ask for an answer."""
        return self.text(dialogue, tokenizer=tokenizer, asking=True)

    def text(self, dialogue: Dialogue, *, tokenizer: PreTrainedTokenizerBase, asking: bool = False) -> str:
        """The rendered dialogue; with `asking`, what asks for an answer after it."""
        rendered: list[str] = self._render(dialogue, tokenizer, add_generation_prompt=asking)[0]
        return rendered[0]

    def tagged(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> list[Span]:
        """The spans that the template marks with {% generation %}."""
        spans: list[list[Span]] = self._render(dialogue, tokenizer, return_assistant_tokens_mask=True)[1]
        return spans[0]

    def _render(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase, **how: bool) -> Any:
        source = self.source(dialogue, tokenizer)
        given = {**tokenizer.special_tokens_map, **self.variables}
        tools = [dict(tool) for tool in dialogue.tools] or None
        messages = [message(turn) for turn in dialogue.turns]
        try:
            return render_jinja_template([messages], tools=tools, chat_template=source, **how, **given)
        except jinja2.TemplateSyntaxError as error:
            raise UserError(f"the chat template is not valid Jinja: {error}") from error
        except RESOURCES as error:
            raise ValueError(f"the chat template takes too much ({type(error).__name__}: {error})") from error
        except (jinja2.TemplateError, TypeError) as error:
            raise ValueError(f"the chat template refuses this dialogue: {error}") from error


def refuse_unseen_tools(dialogue: Dialogue, text: str, render: Callable[[Dialogue], str]) -> None:
    """Raise ValueError where tools, or calls of them, change nothing in the text."""
    silent = tuple(replace(turn, tool_calls=()) for turn in dialogue.turns)
    for what, bare in {"tools": replace(dialogue, tools=()), "tool calls": replace(dialogue, turns=silent)}.items():
        shown: str | None = None
        with suppress(ValueError):  # a template that refuses the dialogue without them does show them
            shown = render(bare) if bare != dialogue else None
        if shown == text:
            raise ValueError(
                f"the chat template leaves {what} out of the text; take a template that shows them, as template=hermes"
            )


def message(turn: Turn) -> dict[str, Any]:
    """A turn as chat templates expect it."""
    calls = {"tool_calls": [dict(call) for call in turn.tool_calls]} if turn.tool_calls else {}
    return {"role": turn.role, "content": turn.content, **turn.extra, **calls}


@lru_cache
def controls(tokenizer: PreTrainedTokenizerBase) -> re.Pattern[str]:
    """Matches any control token."""
    return any_of(token.content for token in tokenizer.added_tokens_decoder.values() if token.special)


@lru_cache
def manner(template: Rendered, tokenizer: PreTrainedTokenizerBase) -> AnswerFrame:
    """How the template frames answers; the same for all dialogues."""
    return observe(partial(template.text, tokenizer=tokenizer), controls(tokenizer))
