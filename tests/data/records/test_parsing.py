"""Which shape a record has, what is refused and with which words, and that nothing else comes of any record."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mftcoder.core.dialogue import Dialogue, Preference, Pretokenised, Turn
from mftcoder.data.records.formats import SHAPES, Format
from mftcoder.data.records.parsing import parse

S, U, A, T = "system", "user", "assistant", "tool"
GIVEN = Turn(U, "u", train=False)
QUESTION, ANSWER = Turn(U, "排序\u00a0?"), Turn(A, "好 😀")
CALL = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
TOOL = {"type": "function", "function": {"name": "add", "parameters": {}}}


def read(record: dict[str, Any], format: Format | None = None, **columns: str) -> Any:
    return parse(record, "a.jsonl:7", format=format, columns=columns)


def dialogue(*turns: Turn, kind: str = "chat", tools: tuple[Any, ...] = ()) -> Dialogue:
    return Dialogue(turns, "a.jsonl:7", kind, tools)


def test_columns_are_renamed_and_do_not_stand_for_themselves_too() -> None:
    record = {"prompt": "q", "text": "a", "answer": None}
    assert read(record, question="prompt", answer="text") == dialogue(Turn(U, "q"), Turn(A, "a"), kind="pair")


@pytest.mark.parametrize(
    ("record", "shapes"),
    [
        (
            {"chat_rounds": [], "instruction": "i", "output": "o"},
            "chat_rounds, instruction_output; say which, as +data.tasks.<task>.format=chat_rounds",
        ),
        ({"messages": [], "text": ""}, "messages, text"),
        ({"instruction": "i", "output": "o", "response": "r"}, "instruction_output, instruction_response"),
        ({"input_ids": [1], "text": "t"}, "text, input_ids"),
    ],
)
def test_a_record_of_two_shapes_is_not_guessed(record: dict[str, Any], shapes: str) -> None:
    with pytest.raises(ValueError, match=r"^a.jsonl:7: its keys \(.*\) fit the shapes ") as error:
        read(record)
    assert shapes in str(error.value)


MESSAGES = [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}]


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({}, "its keys (none) fit no shape; expected those of chat_rounds, messages"),
        ({"foo": 1, "bar": None}, "its keys ('foo') fit no shape; expected those of chat_rounds"),
        (
            {"answer": "a"},
            "expected those of prompt_answer (prompt, answer), question_answer (question, answer), query",
        ),
        ({"messages": "hi"}, "messages: str 'hi'; expected a list of messages"),
        ({"messages": []}, "no turns; expected at least one of the user"),
        ({"messages": [7]}, "messages[0]: int 7; expected an object as"),
        ({"messages": [{"content": "u"}]}, "messages[0].role: missing; expected one of system"),
        ({"messages": [{"role": "boss", "content": "u"}]}, "messages[0].role: str 'boss'; expected one of system"),
        ({"messages": [{"role": ["user"], "content": "u"}]}, "messages[0].role: list ['user']"),
        ({"messages": [{"role": "user", "content": 7}]}, "messages[0].content: int 7; expected a string"),
        ({"messages": [{"role": "user", "content": None}]}, "messages[0].content: missing"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image_url", "text": ""}]}]},
            "or a list of parts of type text",
        ),
        ({"messages": [{"role": "user", "content": "u", "tool_calls": [CALL]}]}, "tool calls in a turn of role user"),
        (
            {"messages": [{"role": "assistant", "content": "", "tool_calls": "x"}]},
            "messages[0].tool_calls: str 'x'; expected a list",
        ),
        ({"messages": [{"role": "assistant", "tool_calls": [{"function": {}}]}]}, "messages[0].tool_calls[0]: dict"),
        (
            {"messages": [{"role": "user", "content": "u", "weight": 0.5}]},
            "messages[0].weight: float 0.5; expected true or false",
        ),
        (
            {"messages": [{"role": "user", "content": "u", "weight": 1, "train": False}]},
            "train and weight contradict each other",
        ),
        ({"messages": MESSAGES, "tools": "x"}, "tools: str 'x'; expected a list of JSON schemas"),
        ({"messages": [*MESSAGES, MESSAGES[1]]}, "turn 3 is of role assistant; expected user or tool"),
        ({"messages": MESSAGES[1:]}, "turn 1 is of role assistant; expected system or user"),
        (
            {"messages": [MESSAGES[0], {"role": "system", "content": "s"}]},
            "turn 2 is of role system; expected assistant",
        ),
        ({"messages": [{"role": "user", "content": "\ud83d"}]}, "holds \\ud83d, half of a surrogate pair"),
        ({"conversations": [{"role": "user", "content": "u"}]}, "conversations[0].from: missing"),
        ({"question": 1, "answer": "a"}, "question: int 1; expected a string"),
        ({"query": "q", "response": "r", "history": 7}, "history: int 7; expected"),
        (
            {"query": "q", "response": "r", "history": [["q"]]},
            'history[0]: list [\'q\']; expected ["question", "answer"]',
        ),
        ({"text": ["a"]}, "text: list ['a']; expected a string"),
        ({"segments": [{"text": "a"}]}, "segments[0].label: missing; expected true or false"),
        ({"segments": [{"label": True}]}, "segments[0].text: missing; expected a string"),
        ({"segments": {"label": True}}, "segments: dict"),
        ({"chosen": "a", "rejected": "b"}, "expected the same turns first (or a prompt)"),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, "and then turns that differ"),
        ({"input_ids": "abc"}, "input_ids: str 'abc'; expected a list of integers"),
        ({"input_ids": [2**31]}, "input_ids: a number of more than 32 bits"),
        ({"input_ids": [1, 2], "labels": [1]}, "labels: 1 numbers for 2 input_ids"),
        ({"input_ids": [1, 2], "labels": [2, -100]}, "labels: differ from input_ids where they are not -100"),
        ({"input_ids": [1, 2], "attention_mask": [0, 1]}, "attention_mask: has a 0 before a 1"),
        ({"prompt": "q", "completion": "bad", "label": False}, "label: false, an answer that must not be learnt"),
        ({"input_ids": [True, 5, 6]}, "input_ids: list [True, 5, 6]; expected a list of integers"),
    ],
)
def test_faults_name_place_value_and_remedy(record: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=r"^a\.jsonl:7: ") as error:
        read(record)
    assert message in str(error.value)


def test_a_named_format_says_which_key_is_missing() -> None:
    with pytest.raises(ValueError, match=r"^a\.jsonl:7: output: missing; expected a string$"):
        read({"instruction": "i"}, "alpaca")


KEYS = sorted(
    {key for shape in SHAPES.values() for key in shape.keys} | {"system", "history", "tools", "labels", "loss_mask"}
)
INNER = [
    "role",
    "from",
    "content",
    "value",
    "label",
    "text",
    "weight",
    "train",
    "tool_calls",
    "function",
    "name",
    "arguments",
]
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=5)
    | st.sampled_from(["user", "assistant"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(INNER), inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=400, deadline=None)
@given(record=st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4), format=st.sampled_from([None, *SHAPES]))
def test_any_record_is_read_or_refused_with_its_place(record: dict[str, Any], format: Format | None) -> None:
    try:
        example = read(record, format)
    except ValueError as error:
        example = str(error)
    assert isinstance(example, Dialogue | Preference | Pretokenised) or re.match(r"a\.jsonl:7: .", example)


@given(words=st.text(), extra=st.dictionaries(st.sampled_from(["id", "data_name", "chat_round_id", "../x"]), VALUES))
def test_no_valid_record_is_refused(words: str, extra: dict[str, Any]) -> None:
    rounds = [{"role": "human", "content": words, **extra}, {"role": "bot", "content": words, **extra}]
    assert read({"chat_rounds": rounds, **extra}) == dialogue(Turn(U, words), Turn(A, words))


GOOD_RECORDS = {
    "messages": {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]},
    "chat_rounds": {"chat_rounds": [{"role": "human", "content": "q"}, {"role": "bot", "content": "a"}]},
    "conversations": {"conversations": [{"from": "human", "value": "q"}, {"from": "gpt", "value": "a"}]},
    "prompt_response": {"prompt": "q", "response": "a"},
    "alpaca": {"instruction": "q", "input": "", "output": "a"},
    "text": {"text": "t"},
    "input_ids": {"input_ids": [1, 2]},
}


@pytest.mark.parametrize("shape", GOOD_RECORDS)
@pytest.mark.parametrize(
    "judged", [{"label": False}, {"rating": "bad"}, {"rating": " Bad"}, {"feedback": "thumbs_down"}]
)
def test_what_is_called_bad_is_refused_in_any_shape(shape, judged):
    parse(GOOD_RECORDS[shape], "a:1", format=None, columns={})
    parse(GOOD_RECORDS[shape] | {"label": True, "rating": "good"}, "a:1", format=None, columns={})
    with pytest.raises(ValueError, match=r"a:1: (label|rating|feedback): .*must not be learnt"):
        parse(GOOD_RECORDS[shape] | judged, "a:1", format=None, columns={})


def test_flags_are_a_mask():
    example = parse({"input_ids": [1, 2], "loss_mask": [False, True]}, "a:1", format=None, columns={})
    assert example.supervised.tolist() == [False, True]
