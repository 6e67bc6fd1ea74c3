"""One record, of any of the known shapes, to what it holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from mftcoder.core.dialogue import Dialogue, Example, Preference, Pretokenised, Turn
from mftcoder.data.records.formats import SHAPES, Format, Record

OPTIONAL = {"system", "history", "tools", "input", "prompt", "labels", "loss_mask", "attention_mask"}
JUDGEMENTS = ("label", "rating", "feedback", "judgement")
BAD = {"bad", "negative", "rejected", "incorrect", "wrong", "thumbs_down", "false"}
WANTED = {key for shape in SHAPES.values() for key in shape.keys} | OPTIONAL | set(JUDGEMENTS)

FOLLOWS = {"system": ("user",), "user": ("assistant",), "assistant": ("user", "tool"), "tool": ("tool", "assistant")}


def parse(record: Record, origin: str, *, format: Format | None, columns: Mapping[str, str]) -> Example:
    """What a record holds.

    Args:
        record: by key.
        origin: `path:line`, for messages.
        format: the name of its shape; None finds it by the keys.
        columns: {name in the shape: name in the record}.

    Raises:
        ValueError: `origin: what is wrong, what was expected`.
    """
    if columns:
        own = {key: value for key, value in record.items() if key not in columns.values()}
        record = own | {name: record[column] for name, column in columns.items() if column in record}
    try:
        refuse_bad(record)
        example = SHAPES[format or detect(record)].read(record, origin)
        for dialogue in dialogues(example):
            check(dialogue)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    return example


def refuse_bad(record: Record) -> None:
    """Raise ValueError for a record that its author calls bad: whatever its shape, it must not be learnt."""
    for key in JUDGEMENTS:
        said = record.get(key)
        if said is False or (isinstance(said, str) and said.strip().lower() in BAD):
            shown = "false" if said is False else repr(said)
            raise ValueError(
                f"{key}: {shown}, an answer that must not be learnt; leave such records out, or let them be left out "
                "with data.max_quarantined_fraction"
            )


def detect(record: Record) -> Format:
    """The shape of a record, by its keys: the one shape that fits, or whose keys include those of all that do.

    Raises:
        ValueError: none fits, or several.
    """
    keys = {key for key, value in record.items() if value is not None}
    fits = [name for name, shape in SHAPES.items() if keys.issuperset(shape.keys)]
    told = {key for name in fits for key in SHAPES[name].keys}
    best = [name for name in fits if set(SHAPES[name].keys) == told]
    if len(best) == 1:
        return best[0]
    listed = ", ".join(sorted(map(repr, keys))) or "none"
    if fits:
        raise ValueError(
            f"its keys ({listed}) fit the shapes {', '.join(fits)}; say which, as +data.tasks.<task>.format={fits[0]}"
        )
    near = {name: shape.keys for name, shape in SHAPES.items() if keys.intersection(shape.keys)}
    expected = ", ".join(f"{name} ({', '.join(wanted)})" for name, wanted in near.items()) or ", ".join(SHAPES)
    key = next((key for wanted in near.values() for key in wanted if key not in keys), "prompt")
    raise ValueError(
        f"its keys ({listed}) fit no shape; expected those of {expected}; yours may have other names, as "
        f"+data.tasks.<task>.columns.{key}=<your key>"
    )


def dialogues(example: Example) -> Sequence[Dialogue]:
    """The dialogues in it."""
    if isinstance(example, Preference):
        return example.chosen, example.rejected
    return () if isinstance(example, Pretokenised) else (example,)


def check(dialogue: Dialogue) -> None:
    """Raise ValueError unless the turns come in order, and are text that can be written in UTF-8."""
    if dialogue.kind in ("chat", "pair"):
        check_order(dialogue.turns)
    rich = [[turn.tool_calls, dict(turn.extra)] for turn in dialogue.turns if turn.tool_calls or turn.extra]
    beside = [json.dumps([rich, dialogue.tools], ensure_ascii=False)] if rich or dialogue.tools else []
    for words in (*(turn.content for turn in dialogue.turns), *beside):
        if not words.isascii():
            check_unicode(words)


def check_unicode(words: str) -> None:
    """Raise ValueError if `words` holds half of a surrogate pair, which is no character."""
    try:
        words.encode()
    except UnicodeEncodeError as error:
        code = ord(words[error.start])
        raise ValueError(f"holds \\u{code:04x}, half of a surrogate pair; expected whole characters") from None


def check_order(turns: tuple[Turn, ...]) -> None:
    """System at most once, and first; then user and assistant by turns, tools after the assistant that called them."""
    if not turns:
        raise ValueError("no turns; expected at least one of the user")
    expected: tuple[str, ...] = ("system", "user")
    for number, turn in enumerate(turns, start=1):
        if turn.role not in expected:
            raise ValueError(f"turn {number} is of role {turn.role}; expected {' or '.join(expected)}")
        expected = FOLLOWS[turn.role]
