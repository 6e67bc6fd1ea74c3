"""Lists of messages to turns: roles under any of their names, tool calls, and switches of the loss."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from mftcoder.core.dialogue import Role, Turn

ROLE_NAMES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "human": "user",
    "user": "user",
    "bot": "assistant",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
SWITCHES = ("train", "loss", "training", "weight")
EXTRA = ("name", "tool_call_id", "reasoning_content")


def turns(messages: Any, where: str, *, role_key: str = "role", content_key: str = "content") -> tuple[Turn, ...]:
    """The turns of a list of messages; `where` names it in errors."""
    if not isinstance(messages, list):
        raise ValueError(f'{where}: {brief(messages)}; expected a list of messages as {{"{role_key}": "user", …}}')
    return tuple(turn(message, f"{where}[{i}]", role_key, content_key) for i, message in enumerate(messages))


def turn(message: Any, where: str, role_key: str, content_key: str) -> Turn:
    """One message."""
    if not isinstance(message, Mapping):
        raise ValueError(f'{where}: {brief(message)}; expected an object as {{"{role_key}": "user", …}}')
    named = message.get(role_key)
    role = ROLE_NAMES.get(named) if isinstance(named, str) else None
    if role is None:
        raise ValueError(f"{where}.{role_key}: {brief(named)}; expected one of {', '.join(ROLE_NAMES)}")
    if named == "function_call":
        return Turn(role, "", tool_calls=(called(message.get(content_key), f"{where}.{content_key}"),))
    if len(message) == 2 and content_key in message:  # most messages: nothing else to look for
        return Turn(role, content(message[content_key], f"{where}.{content_key}", empty=False))
    calls = tool_calls(message, where)
    if calls and role != "assistant":
        raise ValueError(f"{where}: tool calls in a turn of role {named}; expected them in those of the assistant only")
    words = content(message.get(content_key), f"{where}.{content_key}", empty=bool(calls))
    extra = {key: message[key] for key in EXTRA if isinstance(message.get(key), str)}
    return Turn(role, words, switch(message, where), calls, extra)


def content(value: Any, where: str, *, empty: bool) -> str:
    """The words of a message: a string, or a list of parts that are all text; null only if `empty`."""
    if isinstance(value, str):
        return value
    if value is None and empty:
        return ""
    if isinstance(value, list) and all(map(is_text, value)):
        return "".join(part["text"] for part in value)
    raise ValueError(f"{where}: {brief(value)}; expected a string, or a list of parts of type text")


def is_text(part: Any) -> bool:
    """Whether a part of a message is text, not a picture or sound."""
    return isinstance(part, Mapping) and part.get("type", "text") == "text" and isinstance(part.get("text"), str)


def switch(message: Mapping[str, Any], where: str) -> bool | None:
    """Whether the message says that it is to be learnt: true or 1, false or 0, None if it says nothing."""
    said = {key: message[key] for key in SWITCHES if message.get(key) is not None}
    for key, value in said.items():
        if value not in (0, 1):  # True and False are among these
            raise ValueError(f"{where}.{key}: {brief(value)}; expected true or false, 1 or 0")
    values = {bool(value) for value in said.values()}
    if len(values) > 1:
        raise ValueError(f"{where}: {' and '.join(said)} contradict each other")
    return next(iter(values), None)


def tool_calls(message: Mapping[str, Any], where: str) -> tuple[dict[str, Any], ...]:
    """The tool calls of a message, in OpenAI's present form, also where it has the older `function_call`."""
    if message.get("function_call") is not None:
        return (called(message["function_call"], f"{where}.function_call"),)
    calls = message.get("tool_calls") or []
    if not isinstance(calls, list):
        raise ValueError(f"{where}.tool_calls: {brief(calls)}; expected a list")
    return tuple(called(call, f"{where}.tool_calls[{i}]") for i, call in enumerate(calls))


def called(call: Any, where: str) -> dict[str, Any]:
    """One tool call, its arguments taken out of their string."""
    call = from_json(call)
    function = call.get("function", call) if isinstance(call, Mapping) else None
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise ValueError(f'{where}: {brief(call)}; expected {{"function": {{"name": "…", "arguments": {{…}}}}}}')
    named = {"name": function["name"], "arguments": from_json(function.get("arguments", {}))}
    identity = {"id": call["id"]} if isinstance(call.get("id"), str) else {}
    return {**identity, "type": "function", "function": named}


def tools(value: Any) -> tuple[dict[str, Any], ...]:
    """The schemas of the tools that a record offers: a list of objects, or the JSON of one."""
    listed = from_json(value) if value is not None else []
    if not isinstance(listed, list) or not all(isinstance(tool, Mapping) for tool in listed):
        raise ValueError(f"tools: {brief(value)}; expected a list of JSON schemas")
    return tuple(dict(tool) for tool in listed)


def from_json(value: Any) -> Any:
    """What a string holds as JSON, if it does; anything else as it is."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value


def brief(value: Any) -> str:
    """A value for a message: absent, or its kind and beginning."""
    if value is None:
        return "missing"
    shown = repr(value)
    return f"{type(value).__name__} {shown if len(shown) <= 60 else shown[:59] + '…'}"
