"""The contract of all templates."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterable
from functools import lru_cache
from typing import Literal, NamedTuple

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Role
from mftcoder.core.errors import UserError

Tokenization = Literal["whole", "segments"]
Sanitize = Literal["escape", "error", "keep"]
TrainOn = Literal["assistant", "last", "all"] | list[Role]

ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


class Segment(NamedTuple):
    """A stretch of rendered text, all of it in the loss or all of it not.

    Attributes:
        text: as the model sees it.
        supervised: whether it is in the loss.
        turn: the turn that it belongs to.
        joined: with tokenization=segments, whether it is tokenised together with the segment before it.
    """

    text: str
    supervised: bool
    turn: int
    joined: bool = False


class Template(ABC):
    """Renders a dialogue into the text that the model sees, divided into what is supervised and what is not.

    Args:
        tokenization: whole, the rendered text is tokenised in one go and the loss mask follows its characters;
            segments, each segment by itself, as the original MFTCoder did (needed for its released models).
        train_on: assistant, every assistant turn with the token that ends it; last, only the last of them; all, every
            token; or a list of roles. A turn's own `train` comes first.
        sanitize: what becomes of control tokens in the words of a turn: escape, they are tokenised as plain text, so
            that nobody can forge a turn; error, the record is refused; keep, they become control tokens.
    """

    def __init__(self, *, tokenization: Tokenization, train_on: TrainOn, sanitize: Sanitize) -> None:
        self.tokenization = tokenization
        self.train_on = train_on
        self.sanitize = sanitize
        self._roles = {"assistant": ("assistant",), "all": ROLES}.get(str(train_on), train_on)

    def render(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """All turns as segments.

        Raises:
            UserError: no dialogue can be rendered, as the tokenizer lacks a token.
            ValueError: this dialogue breaks the template's rules.
        """
        trained = self.trained(dialogue)
        if dialogue.kind == "verbatim":
            return [Segment(turn.content, trained[i], i) for i, turn in enumerate(dialogue.turns)]
        if dialogue.kind == "text":
            return [Segment(self.document(dialogue.turns[0].content) + end_of_text(tokenizer), trained[0], 0)]
        return self.chat(dialogue, trained, tokenizer)

    def prompt(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The text that asks for the next assistant turn, or for the continuation of a text.

        Raises:
            ValueError: the dialogue ends with an assistant turn, or breaks the template's rules.
        """
        if dialogue.kind == "text":
            return self.document(dialogue.turns[0].content)
        if dialogue.turns[-1].role == "assistant":
            raise ValueError(
                f"ends with an assistant turn, its turn {len(dialogue.turns)}; expected a turn that is to be answered"
            )
        return self.question(dialogue, tokenizer)

    @abstractmethod
    def chat(self, dialogue: Dialogue, trained: list[bool], tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """The turns of a chat or pair.

        Args:
            dialogue: with at least one turn.
            trained: of each turn, whether its words are in the loss.
            tokenizer: of the model.
        """

    @abstractmethod
    def question(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The turns of a chat or pair, and what makes the model answer the last."""

    def document(self, words: str) -> str:
        """Plain text for pretraining as the model sees it, before the token that ends it."""
        return words

    def ends(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
        """The tokens that end an answer, at which generation is to stop."""
        return frozenset([end_of_text(tokenizer)])

    @abstractmethod
    def jinja(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """The same for chats, as `tokenizer.chat_template`; None where the tokenizer's own is the same already."""

    def trained(self, dialogue: Dialogue) -> list[bool]:
        """Whether the words of each turn are in the loss."""
        turns = dialogue.turns
        if self.train_on != "last":
            return [turn.role in self._roles if turn.train is None else turn.train for turn in turns]
        last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
        return [i == last if turn.train is None else turn.train for i, turn in enumerate(turns)]


def end_of_text(tokenizer: PreTrainedTokenizerBase) -> str:
    """The token that ends a text.

    Raises:
        UserError: the tokenizer has none.
    """
    token = tokenizer.eos_token
    if token is None:
        raise UserError(
            "the tokenizer has no eos_token, which ends a text; set one in the tokenizer_config.json of "
            f"{tokenizer.name_or_path!r}"
        )
    return str(token)


@lru_cache
def control(token: str, tokenizer: PreTrainedTokenizerBase) -> str:
    """The token itself.

    Raises:
        UserError: the tokenizer does not know it as a control token.
    """
    known = sorted({str(added) for added in tokenizer.added_tokens_decoder.values() if added.special})
    if token not in known:
        raise UserError(
            f"the tokenizer has no control token {token}, which this template writes (it has "
            f"{', '.join(known) or 'none'}); choose another template, as template=native or template=mftcoder"
        )
    return token


def any_of(tokens: Iterable[str]) -> re.Pattern[str]:
    """Matches any of the tokens, and of two that begin alike the longer one; if there are none, nothing."""
    return re.compile("|".join(map(re.escape, sorted(tokens, key=len, reverse=True))) or "(?!)")


def refuse_tools(dialogue: Dialogue) -> None:
    """Raise ValueError if the dialogue holds what only a model's own template can show."""
    for number, turn in enumerate(dialogue.turns, start=1):
        found = "tool_calls" if turn.tool_calls else next(iter(turn.extra), None)
        if found and found != "tool_call_id":
            raise ValueError(
                f"turn {number} has {found}, which this template cannot show; use template=native or hermes"
            )
    if dialogue.tools:
        raise ValueError(
            f"tools are given ({len(dialogue.tools)}), which this template cannot show; use template=native or hermes"
        )
