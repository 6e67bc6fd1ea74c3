"""Each shape of record against the dialogue that a reader of its documentation would write down."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest

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


def test_the_names_of_formats_are_those_of_the_shapes() -> None:
    assert get_args(Format) == tuple(SHAPES)


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("prompt", "answer"),
        ("prompt", "response"),
        ("prompt", "completion"),
        ("input", "output"),
        ("instruction", "output"),
        ("instruction", "response"),
        ("question", "response"),
        ("question", "answer"),
        ("query", "answer"),
        ("query", "response"),
    ],
)
def test_pairs(question: str, answer: str) -> None:
    record = {"id": 1, question: QUESTION.content, answer: ANSWER.content}
    assert read(record) == dialogue(QUESTION, ANSWER, kind="pair")
    assert read(record | {"system": "kurz"}) == dialogue(Turn(S, "kurz"), QUESTION, ANSWER, kind="pair")
    assert read(record, f"{question}_{answer}") == read(record)


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (
            {
                "chat_rounds": [
                    {"role": "system", "content": "s", "chat_round_id": 0},
                    {"role": "human", "content": "u"},
                    {"role": "bot", "content": "a"},
                ]
            },
            dialogue(Turn(S, "s"), Turn(U, "u"), Turn(A, "a")),
        ),
        (
            {"chat_rounds": [{"role": "user", "content": "u"}, {"role": "gpt", "content": ""}]},
            dialogue(Turn(U, "u"), Turn(A, "")),
        ),
        (
            {
                "messages": [
                    {"role": "developer", "content": [{"type": "text", "text": "s"}, {"type": "text", "text": "t"}]},
                    {"role": "user", "content": "1+?", "weight": None},
                    {
                        "role": "assistant",
                        "content": None,
                        "weight": 0,
                        "tool_calls": [
                            {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}
                        ],
                    },
                    {"role": "tool", "content": "2", "tool_call_id": "c1"},
                    {"role": "assistant", "content": "2!", "train": True},
                ],
                "tools": [TOOL],
            },
            dialogue(
                Turn(S, "st"),
                Turn(U, "1+?"),
                Turn(A, "", train=False, tool_calls=({"id": "c1", **CALL},)),
                Turn(T, "2", extra={"tool_call_id": "c1"}),
                Turn(A, "2!", train=True),
                tools=(TOOL,),
            ),
        ),
        (
            {
                "messages": [
                    {"role": "user", "content": "u"},
                    {"role": "assistant", "content": "a", "reasoning_content": "r"},
                ]
            },
            dialogue(Turn(U, "u"), Turn(A, "a", extra={"reasoning_content": "r"})),
        ),
        (
            {
                "conversations": [
                    {"from": "human", "value": "u"},
                    {"from": "function_call", "value": '{"name": "add", "arguments": {"a": 1}}'},
                    {"from": "observation", "value": "2"},
                    {"from": "gpt", "value": "2!", "loss": False},
                ],
                "system": "s",
                "tools": '[{"name": "add"}]',
            },
            dialogue(
                Turn(S, "s"),
                Turn(U, "u"),
                Turn(A, "", tool_calls=(CALL,)),
                Turn(T, "2"),
                Turn(A, "2!", train=False),
                tools=({"name": "add"},),
            ),
        ),
        ({"instruction": "i", "input": "x", "output": "o"}, dialogue(Turn(U, "i\nx"), Turn(A, "o"), kind="pair")),
        ({"instruction": "i", "input": "", "output": "o"}, dialogue(Turn(U, "i"), Turn(A, "o"), kind="pair")),
        (
            {"instruction": "i", "input": "x", "output": "o", "system": "s", "history": [["q", "r"]]},
            dialogue(Turn(S, "s"), Turn(U, "q"), Turn(A, "r"), Turn(U, "i\nx"), Turn(A, "o")),
        ),
        (
            {"query": "q2", "response": "r2", "history": [["q1", "r1"]]},
            dialogue(Turn(U, "q1"), Turn(A, "r1"), Turn(U, "q2"), Turn(A, "r2")),
        ),
        (
            {"prompt": [{"role": "user", "content": "u"}], "completion": [{"role": "assistant", "content": "a"}]},
            dialogue(Turn(U, "u", train=False), Turn(A, "a")),
        ),
        ({"text": "abc", "answer": None}, dialogue(Turn(A, "abc"), kind="text")),
        (
            {"segments": [{"label": False, "text": "<s>x"}, {"label": True, "text": "y</s>"}]},
            dialogue(Turn(U, "<s>x", train=False), Turn(A, "y</s>", train=True), kind="verbatim"),
        ),
        (
            {"prompt": "u", "chosen": "a", "rejected": "b"},
            Preference(dialogue(GIVEN, Turn(A, "a")), dialogue(GIVEN, Turn(A, "b"))),
        ),
        (
            {
                "prompt": "u",
                "chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}],
                "rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "b"}],
            },
            Preference(dialogue(GIVEN, Turn(A, "a")), dialogue(GIVEN, Turn(A, "b"))),
        ),
        (
            {
                "chosen": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "a"}],
                "rejected": [{"role": "user", "content": "u"}, {"role": "assistant", "content": "b"}],
            },
            Preference(dialogue(GIVEN, Turn(A, "a")), dialogue(GIVEN, Turn(A, "b"))),
        ),
    ],
)
def test_shapes(record: dict[str, Any], expected: Dialogue | Preference) -> None:
    assert read(record) == expected


@pytest.mark.parametrize(
    ("record", "ids", "supervised"),
    [
        ({"input_ids": [5, 6, 7]}, [5, 6, 7], [1, 1, 1]),
        (
            {"input_ids": [5, 6, 7, 0], "labels": [-100, 6, 7, -100], "attention_mask": [1, 1, 1, 0]},
            [5, 6, 7],
            [0, 1, 1],
        ),
        ({"input_ids": [5, 6, 7], "loss_mask": [0, 1, 0]}, [5, 6, 7], [0, 1, 0]),
    ],
)
def test_tokens(record: dict[str, Any], ids: list[int], supervised: list[int]) -> None:
    example = read(record)
    assert isinstance(example, Pretokenised)
    assert example.ids.dtype == np.int32
    assert (example.ids.tolist(), example.supervised.tolist()) == (ids, [bool(s) for s in supervised])
