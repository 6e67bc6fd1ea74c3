"""Single messages: the words, the switches of the loss and the tool calls under all names that data give them."""

from __future__ import annotations

from typing import Any

import pytest

from mftcoder.data.records.messages import EXTRA, ROLE_NAMES, brief, called, switch, tools, turns


def test_every_role_name_gives_a_turn_of_its_role() -> None:
    for name, role in ROLE_NAMES.items():
        words = '{"name": "f"}' if name == "function_call" else "x"
        (turn,) = turns([{"from": name, "value": words}], "conversations", role_key="from", content_key="value")
        assert turn.role == role
        assert bool(turn.tool_calls) == (name == "function_call")


@pytest.mark.parametrize(
    ("said", "expected"),
    [({}, None), ({"train": True}, True), ({"loss": 0}, False), ({"weight": 1, "train": 1.0}, True)],
)
def test_a_switch_is_read_under_any_of_its_names(said: dict[str, Any], expected: bool | None) -> None:
    assert switch(said, "m") is expected


@pytest.mark.parametrize(
    ("said", "fault"),
    [
        ({"weight": 0.5}, r"m\.weight: float 0\.5; expected true or false, 1 or 0"),
        ({"train": "yes"}, r"m\.train: str 'yes'; expected"),
        ({"train": True, "loss": 0}, "m: train and loss contradict each other"),
    ],
)
def test_a_switch_that_says_anything_else_is_refused(said: dict[str, Any], fault: str) -> None:
    with pytest.raises(ValueError, match=fault):
        switch(said, "m")


def test_parts_of_text_are_joined_and_a_picture_is_refused() -> None:
    parts = [{"type": "text", "text": "a"}, {"text": "b"}]
    assert turns([{"role": "user", "content": parts}], "messages")[0].content == "ab"
    with pytest.raises(ValueError, match=r"messages\[0\]\.content: list .*; expected a string, or a list of parts"):
        turns([{"role": "user", "content": [*parts, {"type": "image_url", "image_url": "x"}]}], "messages")


def test_only_what_templates_can_show_is_kept_beside_the_words() -> None:
    message = {"role": "tool", "content": "3", "tool_call_id": "c1", "name": "add", "id": 7, "reasoning_content": None}
    (turn,) = turns([message], "messages")
    assert turn.extra == {"name": "add", "tool_call_id": "c1"}
    assert set(turn.extra) <= set(EXTRA)


def test_a_call_is_the_same_in_the_old_and_the_present_form() -> None:
    arguments = {"a": 1}
    present = {"id": "c1", "function": {"name": "add", "arguments": '{"a": 1}'}}
    assert called(present, "c") == {"id": "c1", "type": "function", "function": {"name": "add", "arguments": arguments}}
    assert called({"name": "add", "arguments": arguments}, "c")["function"] == {"name": "add", "arguments": arguments}
    assert called('{"name": "add"}', "c")["function"] == {"name": "add", "arguments": {}}


def test_arguments_that_are_no_json_stay_a_string() -> None:
    assert called({"name": "sh", "arguments": "{ls"}, "c")["function"]["arguments"] == "{ls"


@pytest.mark.parametrize("value", ["[1]", {"a": 1}, "no json", [["x"]]])
def test_tools_are_a_list_of_objects(value: Any) -> None:
    assert tools(None) == ()
    assert tools('[{"a": 1}]') == tools([{"a": 1}]) == ({"a": 1},)
    with pytest.raises(ValueError, match=r"tools: .*; expected a list of JSON schemas"):
        tools(value)


def test_a_long_value_is_shown_by_its_beginning() -> None:
    assert brief("x" * 99) == f"str '{'x' * 58}…"
    assert brief(None) == "missing"
