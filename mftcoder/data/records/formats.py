"""The formats of records: by which keys each is known, and how it is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from mftcoder.core.dialogue import Dialogue, Example, Preference, Pretokenised, Turn
from mftcoder.data.records.messages import brief, tools, turns

Record = Mapping[str, Any]
Format = Literal[
    "chat_rounds",
    "messages",
    "conversations",
    "alpaca",
    "prompt_answer",
    "prompt_response",
    "prompt_completion",
    "input_output",
    "instruction_output",
    "instruction_response",
    "question_answer",
    "question_response",
    "query_answer",
    "query_response",
    "text",
    "segments",
    "preference",
    "input_ids",
]


@dataclass(frozen=True, slots=True)
class RecordShape:
    """One format of records.

    Args:
        keys: a record that has all of them is of this format.
        read: record and origin to what the record holds.
    """

    keys: tuple[str, ...]
    read: Callable[[Record, str], Example]


def chat_rounds(record: Record, origin: str) -> Dialogue:
    """The original MFTCoder's: {"chat_rounds": [{"role": "human", "content": "…"}, …]}."""
    return Dialogue(turns(record.get("chat_rounds"), "chat_rounds"), origin)


def messages(record: Record, origin: str) -> Dialogue:
    """OpenAI's: {"messages": [{"role": "user", "content": "…"}, …], "tools": […]}."""
    return Dialogue(turns(record.get("messages"), "messages"), origin, tools=tools(record.get("tools")))


def conversations(record: Record, origin: str) -> Dialogue:
    """ShareGPT's: {"conversations": [{"from": "human", "value": "…"}, …], "system": "…", "tools": …}."""
    said = turns(record.get("conversations"), "conversations", role_key="from", content_key="value")
    return Dialogue(system(record) + said, origin, tools=tools(record.get("tools")))


def alpaca(record: Record, origin: str) -> Dialogue:
    """{"instruction": "…", "input": "…", "output": "…", "history": [["…", "…"], …]}; the input may be empty."""
    given = words(record, "input") if record.get("input") is not None else ""
    question = words(record, "instruction") + ("\n" + given if given else "")
    return exchange(record, origin, question, words(record, "output"))


def pair(question: str, answer: str) -> RecordShape:
    """A question and an answer in two columns, with a system text and earlier exchanges where there are any."""

    def read(record: Record, origin: str) -> Dialogue:
        return exchange(record, origin, words(record, question), words(record, answer))

    return RecordShape((question, answer), read)


def exchange(record: Record, origin: str, question: str, answer: str) -> Dialogue:
    """The last exchange of a record, after its system text and its history."""
    before = system(record) + history(record)
    kind: Literal["chat", "pair"] = "chat" if record.get("history") else "pair"
    return Dialogue((*before, Turn("user", question), Turn("assistant", answer)), origin, kind=kind)


def history(record: Record) -> tuple[Turn, ...]:
    """Earlier exchanges: [["question", "answer"], …]."""
    said: list[Turn] = []
    rounds = record.get("history") or []
    if not isinstance(rounds, list):
        raise ValueError(f'history: {brief(rounds)}; expected [["question", "answer"], …]')
    for i, round_ in enumerate(rounds):
        if not (isinstance(round_, list) and len(round_) == 2 and all(isinstance(part, str) for part in round_)):
            raise ValueError(f'history[{i}]: {brief(round_)}; expected ["question", "answer"]')
        said += [Turn("user", round_[0]), Turn("assistant", round_[1])]
    return tuple(said)


def prompt_completion(record: Record, origin: str) -> Dialogue:
    """Two strings, or two lists of messages of which the second is learnt."""
    prompt, completion = record.get("prompt"), record.get("completion")
    if isinstance(prompt, list):
        given = tuple(replace(turn, train=False) for turn in turns(prompt, "prompt"))
        return Dialogue(given + turns(completion, "completion"), origin, tools=tools(record.get("tools")))
    return exchange(record, origin, words(record, "prompt"), words(record, "completion"))


def text(record: Record, origin: str) -> Dialogue:
    """Plain text for pretraining: {"text": "…"}."""
    return Dialogue((Turn("assistant", words(record, "text")),), origin, kind="text")


def segments(record: Record, origin: str) -> Dialogue:
    """Text as it stands, some of it learnt: {"segments": [{"label": false, "text": "…"}, …]}."""
    stretches = record.get("segments")
    if not isinstance(stretches, list) or not all(isinstance(stretch, Mapping) for stretch in stretches):
        raise ValueError(f'segments: {brief(stretches)}; expected [{{"label": true, "text": "…"}}, …]')
    said: list[Turn] = []
    for i, stretch in enumerate(stretches):
        if not isinstance(stretch.get("label"), bool):
            raise ValueError(f"segments[{i}].label: {brief(stretch.get('label'))}; expected true or false")
        role: Literal["user", "assistant"] = "assistant" if stretch["label"] else "user"
        said.append(Turn(role, words(stretch, "text", f"segments[{i}]."), train=stretch["label"]))
    return Dialogue(tuple(said), origin, kind="verbatim")


def preference(record: Record, origin: str) -> Preference:
    """{"prompt": "…", "chosen": "…", "rejected": "…"}; or lists of messages, then also without a prompt."""
    both = []
    for key in ("chosen", "rejected"):
        prompt, answer = record.get("prompt"), record.get(key)
        before = turns(prompt, "prompt") if isinstance(prompt, list) else ()
        if isinstance(prompt, str):
            before = (Turn("user", prompt),)
        said = turns(answer, key) if isinstance(answer, list) else (Turn("assistant", words(record, key)),)
        both.append(said if said[: len(before)] == before else before + said)
    shared = next((i for i, (a, b) in enumerate(zip(*both, strict=False)) if a != b), min(map(len, both)))
    if shared == 0 or any(len(said) == shared for said in both):
        raise ValueError(
            "chosen and rejected: expected the same turns first (or a prompt), and then turns that differ; "
            f"of {len(both[0])} and {len(both[1])} turns the first {shared} agree"
        )
    given = tuple(replace(turn, train=False) for turn in both[0][:shared])
    offered = tools(record.get("tools"))
    chosen, rejected = (Dialogue(system(record) + given + said[shared:], origin, tools=offered) for said in both)
    return Preference(chosen, rejected)


def input_ids(record: Record, origin: str) -> Pretokenised:
    """{"input_ids": […], "labels": […]}, labels -100 where nothing is learnt; or "loss_mask" of 0 and 1; or neither."""
    ids = whole_numbers(record, "input_ids", None)
    if record.get("labels") is not None:
        labels = whole_numbers(record, "labels", len(ids))
        supervised = labels != -100
        if (labels != ids)[supervised].any():
            at = int(np.flatnonzero((labels != ids) & supervised)[0])
            raise ValueError(
                "labels: differ from input_ids where they are not -100; expected the ids themselves, not shifted "
                f"({labels[at]} for {ids[at]} at place {at})"
            )
    elif record.get("loss_mask") is not None:
        supervised = whole_numbers(record, "loss_mask", len(ids), flags=True) != 0
    else:
        supervised = np.ones(len(ids), dtype=np.bool_)
    length = len(ids)
    if record.get("attention_mask") is not None:
        attended = whole_numbers(record, "attention_mask", len(ids), flags=True) != 0
        length = int(attended.sum())
        if not attended[:length].all():
            raise ValueError(
                f"attention_mask: has a 0 before a 1; expected padding at the end only, not at {int(attended.argmin())}"
            )
    return Pretokenised(ids[:length].astype(np.int32), supervised[:length], origin)


def whole_numbers(
    record: Record, key: str, length: int | None, *, flags: bool = False
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The integers under `key`; with `flags`, also true and false for 1 and 0."""
    values = record.get(key)
    kinds = {int, bool} if flags else {int}
    if not isinstance(values, list) or not all(type(value) in kinds for value in values):
        raise ValueError(f"{key}: {brief(values)}; expected a list of integers")
    if length is not None and len(values) != length:
        raise ValueError(f"{key}: {len(values)} numbers for {length} input_ids")
    if any(not -(2**31) <= value < 2**31 for value in values):
        raise ValueError(f"{key}: a number of more than 32 bits")
    return np.array(values, dtype=np.int64)


def system(record: Record) -> tuple[Turn, ...]:
    """The system text of a record, if it has one."""
    return (Turn("system", words(record, "system")),) if record.get("system") else ()


def words(record: Record, key: str, where: str = "") -> str:
    """The string under `key`."""
    value = record.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{where}{key}: {brief(value)}; expected a string")
    return value


SHAPES: dict[Format, RecordShape] = {
    "chat_rounds": RecordShape(("chat_rounds",), chat_rounds),
    "messages": RecordShape(("messages",), messages),
    "conversations": RecordShape(("conversations",), conversations),
    "alpaca": RecordShape(("instruction", "input", "output"), alpaca),
    "prompt_answer": pair("prompt", "answer"),
    "prompt_response": pair("prompt", "response"),
    "prompt_completion": RecordShape(("prompt", "completion"), prompt_completion),
    "input_output": pair("input", "output"),
    "instruction_output": pair("instruction", "output"),
    "instruction_response": pair("instruction", "response"),
    "question_answer": pair("question", "answer"),
    "question_response": pair("question", "response"),
    "query_answer": pair("query", "answer"),
    "query_response": pair("query", "response"),
    "text": RecordShape(("text",), text),
    "segments": RecordShape(("segments",), segments),
    "preference": RecordShape(("chosen", "rejected"), preference),
    "input_ids": RecordShape(("input_ids",), input_ids),
}
