"""A record as it stands in the data, before any template: what record readers give and templates take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Role = Literal["system", "user", "assistant", "tool"]
Kind = Literal["chat", "pair", "text", "verbatim"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message.

    train: whether its words are targets of the loss; None leaves that to the template's `train_on`.
    tool_calls: the calls of an assistant turn, in OpenAI's form. extra: what else a model's own template may show
    (name, tool_call_id, reasoning_content).
    """

    role: Role
    content: str
    train: bool | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()
    extra: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The turns of one record, in order. origin: `path:line`, for messages. tools: their JSON schemas.

    kind: chat, turns that a template renders; pair, a question and its answer that came as two columns (the original
    MFTCoder renders these a little differently); text, one turn of plain text for pretraining, rendered without
    markers; verbatim, stretches of text that stand as their author wrote them, control tokens included.
    """

    turns: tuple[Turn, ...]
    origin: str
    kind: Kind = "chat"
    tools: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Pretokenised:
    """A record that was tokenised elsewhere. ids: [n] int32. supervised: [n] bool, the targets of the loss."""

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    origin: str


@dataclass(frozen=True, slots=True)
class Preference:
    """Two dialogues with the same beginning, of which the first was preferred."""

    chosen: Dialogue
    rejected: Dialogue

    @property
    def origin(self) -> str:
        """`path:line`, for messages."""
        return self.chosen.origin


Example = Dialogue | Pretokenised | Preference
