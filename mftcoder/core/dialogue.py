"""A dialogue as it stands in the data, before any template: what record readers give and templates take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]
Kind = Literal["chat", "pair", "text"]


@dataclass(frozen=True, slots=True)
class Turn:
    """One message.

    train: whether its words are targets of the loss; None leaves that to the template's `train_on`.
    tool_calls: the calls of an assistant turn, in OpenAI's form.
    """

    role: Role
    content: str
    train: bool | None = None
    tool_calls: tuple[dict[str, Any], ...] = ()


@dataclass(frozen=True, slots=True)
class Dialogue:
    """The turns of one record, in order. origin: `path:line`, for messages. tools: their JSON schemas.

    kind: chat, turns that a template renders; pair, one question and its answer that came as two columns (the original
    MFTCoder renders these a little differently); text, one turn of plain text for pretraining, rendered without markers.
    """

    turns: tuple[Turn, ...]
    origin: str
    kind: Kind = "chat"
    tools: tuple[dict[str, Any], ...] = ()
