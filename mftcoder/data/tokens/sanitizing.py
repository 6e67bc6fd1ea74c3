"""Control tokens in the words of users: found, and kept from acting as such."""

from __future__ import annotations

import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import AddedToken, Tokenizer

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.template.base import Sanitize, Segment, any_of

STAND_INS = 0x100000  # in a private plane of Unicode, which texts do not use


class Sanitizer:
    """Lets a template's control tokens act, and those in the words of users be plain text.

    While the template renders, each control token in the words is hidden behind a private character. Afterwards the
    template's own become private characters, which a copy of the tokenizer knows as tokens, and those in the words are
    themselves again; that copy takes the names of control tokens for plain text. So words are tokenised exactly as if
    no control token of that name existed.

    Args:
        tokenizer: of the model; it is left as it is.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.original = tokenizer
        self.controls = {i: token for i, token in tokenizer.get_added_tokens_decoder().items() if token.special}
        names = [token.content for token in self.controls.values()]
        self.control = any_of(names)
        self.hidden = {name: chr(STAND_INS + k) for k, name in enumerate(names)}
        self.acting = {name: chr(STAND_INS + len(names) + k) for k, name in enumerate(names)}
        self.words = str.maketrans({stand_in: name for name, stand_in in self.hidden.items()})
        self.reserved = re.compile(f"[{chr(STAND_INS)}-{chr(STAND_INS + 2 * len(names))}]")

    def hide(self, dialogue: Dialogue, policy: Sanitize) -> tuple[Dialogue, bool]:
        """The dialogue as it may be rendered, and whether anything was hidden in it.

        Raises:
            ValueError: the policy is error, and there is a control token; or it cannot be hidden.
        """
        if policy == "keep" or dialogue.kind == "verbatim":
            return dialogue, False
        words = [turn.content for turn in dialogue.turns]
        rich = [(turn.tool_calls, turn.extra) for turn in dialogue.turns if turn.tool_calls or turn.extra]
        if not any(map(self.control.search, words)) and not (rich or dialogue.tools):
            return dialogue, False
        everything = "\0".join([*words, str(rich), str(dialogue.tools)])
        found = self.control.search(everything)
        if found is None:
            return dialogue, False
        if policy == "error":
            raise ValueError(
                f"the control token {found[0]!r} stands in the text; remove it, or set template.sanitize=escape"
            )
        if private := self.reserved.search(everything):
            raise ValueError(f"holds the control token {found[0]!r} and the private character U+{ord(private[0]):X}")
        turns = tuple(map(self._hidden_in_turn, dialogue.turns))
        return replace(dialogue, turns=turns, tools=self.hidden_in(dialogue.tools)), True

    def _hidden_in_turn(self, turn: Turn) -> Turn:
        said, calls, extra = map(self.hidden_in, (turn.content, turn.tool_calls, turn.extra))
        return replace(turn, content=said, tool_calls=calls, extra=extra)

    def hidden_in(self, value: Any) -> Any:
        """`value` with the control tokens of all its strings hidden."""
        if isinstance(value, str):
            return self.control.sub(lambda match: self.hidden[match[0]], value)
        if isinstance(value, Mapping):
            return {self.hidden_in(key): self.hidden_in(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return type(value)(map(self.hidden_in, value))
        return value

    def show(self, rendered: str) -> str:
        """Rendered text for `tokenizer`: the template's control tokens acting, those of the words in plain text."""
        return self.control.sub(lambda match: self.acting[match[0]], rendered).translate(self.words)

    def shown(self, segments: list[Segment]) -> list[Segment]:
        """The same for each segment."""
        return [segment._replace(text=self.show(segment.text)) for segment in segments]

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The copy that takes control tokens for plain text, and their acting stand-ins for tokens."""
        copy = deepcopy(self.original)
        copy.encode_special_tokens = True
        copy.add_tokens([stand_in(token, self.acting[token.content]) for token in self.controls.values()])
        return copy

    @cached_property
    def meaning(self) -> NDArray[np.int32]:
        """For each id of `tokenizer`, the id of the original one; -1 for the control tokens, which it must not give."""
        meaning = np.arange(max(self.tokenizer.get_vocab(with_added_tokens=True).values()) + 1, dtype=np.int32)
        for i, token in self.controls.items():
            meaning[i] = -1
            meaning[self.tokenizer.token_to_id(self.acting[token.content])] = i
        return meaning


def stand_in(token: AddedToken, name: str) -> AddedToken:
    """A token that is matched in texts as `token` is, under another name."""
    return AddedToken(
        name,
        single_word=token.single_word,
        lstrip=token.lstrip,
        rstrip=token.rstrip,
        normalized=token.normalized,
        special=False,
    )
