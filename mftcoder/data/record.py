"""One record, of any of the known shapes, to a dialogue."""

from __future__ import annotations

from collections.abc import Mapping

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.data.shapes import SHAPES, Record


def parse(record: Record, origin: str, *, format: str | None, columns: Mapping[str, str]) -> Dialogue:
    """The dialogue that `record` holds.

    format: the name of its shape, or None to know it by its keys. columns: the names that the record's own keys have
    in the shape, as {shape's name: record's name}. Raises ValueError `origin: what is wrong, what was expected`.
    """
    try:
        named = {**record, **{name: record[column] for name, column in columns.items() if column in record}}
        shape = SHAPES[format or detect(named)]
        missing = [key for key in shape.keys if key not in named]
        if missing:
            raise ValueError(f"no key {', '.join(missing)}; format={format} needs {', '.join(shape.keys)}")
        dialogue = shape.read(named, origin)
        if dialogue.kind != "text":
            check_order(dialogue.turns)
    except ValueError as error:
        raise ValueError(f"{origin}: {error}") from None
    return dialogue


def detect(record: Record) -> str:
    """The shape of `record`, by its keys."""
    fits = [name for name, shape in SHAPES.items() if all(record.get(key) is not None for key in shape.keys)]
    if len(fits) == 1:
        return fits[0]
    keys = ", ".join(sorted(record))
    if fits:
        raise ValueError(f"the keys {keys} fit the shapes {', '.join(fits)}; say which: format={fits[0]}")
    raise ValueError(f"the keys {keys} fit no shape; expected those of {', '.join(SHAPES)}, or name them with columns")


def check_order(turns: tuple[Turn, ...]) -> None:
    """System at most once, and first; then user and assistant by turns, tools after the assistant that called them."""
    follows = {
        "system": ("user",),
        "user": ("assistant",),
        "assistant": ("user", "tool"),
        "tool": ("tool", "assistant"),
    }
    if not turns:
        raise ValueError("no turns; expected at least one of the user")
    expected: tuple[str, ...] = ("system", "user")
    for number, turn in enumerate(turns, start=1):
        if turn.role not in expected:
            raise ValueError(f"turn {number} is of role {turn.role}; expected {' or '.join(expected)}")
        expected = follows[turn.role]
