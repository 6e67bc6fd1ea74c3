"""The shapes of records: which keys tell them, and how each is read into turns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from mftcoder.core.dialogue import Dialogue, Role, Turn

Record = Mapping[str, Any]

ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "human": "user",
    "user": "user",
    "bot": "assistant",
    "assistant": "assistant",
    "gpt": "assistant",
    "tool": "tool",
}


@dataclass(frozen=True, slots=True)
class Shape:
    """keys: those that a record of this shape must have. read: makes its dialogue; ValueError says what is wrong."""

    keys: tuple[str, ...]
    read: Callable[[Record, str], Dialogue]


def text_of(record: Record, key: str) -> str:
    """The string under `key`."""
    value = record.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key}: {value!r:.60} is not a string")
    return value


def chat_rounds(record: Record, origin: str) -> Dialogue:
    """The original MFTCoder's dialogues: {"chat_rounds": [{"role": "human", "content": "…"}, …]}."""
    rounds = record["chat_rounds"]
    if not isinstance(rounds, list) or not all(isinstance(message, dict) for message in rounds):
        raise ValueError('chat_rounds: not a list of objects; expected [{"role": "human", "content": "…"}, …]')
    return Dialogue(tuple(Turn(role_of(message, "role"), text_of(message, "content")) for message in rounds), origin)


def role_of(message: Record, key: str) -> Role:
    """The role that `message` names under `key`."""
    role = ROLE_NAMES.get(str(message.get(key)))
    if role is None:
        raise ValueError(f"{key}: {message.get(key)!r} is no role; expected one of {', '.join(ROLE_NAMES)}")
    return role


def text(record: Record, origin: str) -> Dialogue:
    """Plain text for pretraining: {"text": "…"}."""
    return Dialogue((Turn("assistant", text_of(record, "text")),), origin, kind="text")


SHAPES: dict[str, Shape] = {
    "chat_rounds": Shape(("chat_rounds",), chat_rounds),
    "text": Shape(("text",), text),
}
