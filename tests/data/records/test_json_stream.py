"""JSON values one at a time, wherever a block ends."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mftcoder.data.records import json_stream
from mftcoder.data.records.json_stream import JsonStream

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def stream(text: str) -> JsonStream:
    return JsonStream(io.BufferedReader(io.BytesIO(text.encode())), 1 << 26)  # type: ignore[arg-type]


@given(
    values=st.lists(st.dictionaries(st.text(max_size=5), VALUES, max_size=3), max_size=5),
    ascii_only=st.booleans(),
    block=st.integers(1, 8),
)
@settings(deadline=None, max_examples=60)
def test_records_of_an_array_come_whole_from_blocks_of_any_size(
    values: list[object], ascii_only: bool, block: int
) -> None:
    found = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(json_stream, "BLOCK", block)
        reading = stream(json.dumps(values, indent=1, ensure_ascii=ascii_only))
        assert reading.peek() == "["
        reading.skip()
        while reading.peek() != "]":
            found.append(reading.value())
    assert found == values


@pytest.mark.parametrize("text", ["-Infinity", "12345", "-1.5e+300", "true", "null"])
@pytest.mark.parametrize("block", [1, 2, 3])
def test_a_bare_value_is_whole_wherever_a_block_ends(text: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", block)
    reading = stream(f"{text}\n{text}")
    assert [reading.value() for _ in range(2) if reading.peek()] == [json.loads(text)] * 2
    assert reading.peek() == ""


def test_a_byte_order_mark_is_no_character_and_lines_are_counted_from_one() -> None:
    reading = JsonStream(io.BufferedReader(io.BytesIO("\ufeff1,\n\n 2".encode())), 1 << 26)  # type: ignore[arg-type]
    assert (reading.peek(), reading.value(), reading.line) == ("1", 1, 1)
    assert (reading.peek(), reading.value(), reading.line) == ("2", 2, 3)
    assert reading.peek() == ""


@pytest.mark.parametrize("text", ['"never ends', '{"a": ', "[1, 2", "tru", "@"])
def test_what_breaks_off_or_is_no_value_is_an_error(text: str) -> None:
    with pytest.raises(json.JSONDecodeError):
        stream(text).value()
