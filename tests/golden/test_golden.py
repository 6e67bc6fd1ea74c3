"""Every shape of record through every template: token ids and masks against renderings written out by hand.

In these, ⟦ and ⟧ stand around what is learnt. The toy tokenizer has one token for each byte, so that the ids follow
from the rendering without it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from tokenizers import pre_tokenizers
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Preference
from mftcoder.data.records.parsing import parse
from mftcoder.data.tokens.encoding import Encoded, encode, encode_preferences
from mftcoder.template.alpaca import Alpaca
from mftcoder.template.base import Template
from mftcoder.template.chatml import ChatML
from mftcoder.template.codefuse import CodeFuse
from mftcoder.template.jinja import Jinja
from mftcoder.template.llama3 import Llama3
from mftcoder.template.native import Native

# as Llama 2's: the system text inside the first question, no text of its own that asks for an answer
INST = """\
{%- if messages[0]['role'] == 'system' -%}
{%- set system = '<<SYS>>\\n' + messages[0]['content'] + '\\n<</SYS>>\\n\\n' -%}{%- set said = messages[1:] -%}
{%- else -%}{%- set system = '' -%}{%- set said = messages -%}{%- endif -%}
{%- for m in said -%}
{%- if m['role'] == 'user' -%}{{ bos_token + '[INST] ' + (system if loop.first else '') + m['content'] + ' [/INST]' }}
{%- else -%}{{ ' ' + m['content'] + ' ' + eos_token }}{%- endif -%}
{%- endfor -%}"""

RENDERED = {
    "codefuse": {
        "chat": "<s>system\nSei nett.\n<s>human\n排序 😀?\n<s>bot\n⟦好的 ✓\n</s>⟧\n<s>human\nok?\n<s>bot\n⟦ja\n</s>⟧\n",
        "pair": "<s>human\nok?\n<s>bot\n⟦ja\n</s>⟧",
        "pair with system": "<s>system\nSei nett.\n<s>human\nok?\n<s>bot\n⟦ja\n</s>⟧",
        "one exchange": "<s>human\nok?\n<s>bot\n⟦ja\n</s>⟧\n",
        "rejected": "<s>human\nok?\n<s>bot\n⟦nö\n</s>⟧\n",
        "text": "⟦Été 😀\n</s>⟧",
        "verbatim": "<s>É ⟦té 😀</s>⟧!",
    },
    "chatml": {
        "chat": "<|im_start|>system\nSei nett.<|im_end|>\n<|im_start|>user\n排序\u00a0😀?<|im_end|>\n"
        "<|im_start|>assistant\n⟦好的 ✓<|im_end|>⟧\n<|im_start|>user\nok?<|im_end|>\n"
        "<|im_start|>assistant\n⟦ja<|im_end|>⟧\n",
        "pair": "<|im_start|>user\nok?<|im_end|>\n<|im_start|>assistant\n⟦ja<|im_end|>⟧\n",
        "pair with system": "<|im_start|>system\nSei nett.<|im_end|>\n<|im_start|>user\nok?<|im_end|>\n"
        "<|im_start|>assistant\n⟦ja<|im_end|>⟧\n",
        "one exchange": "<|im_start|>user\nok?<|im_end|>\n<|im_start|>assistant\n⟦ja<|im_end|>⟧\n",
        "rejected": "<|im_start|>user\nok?<|im_end|>\n<|im_start|>assistant\n⟦nö<|im_end|>⟧\n",
        "text": "⟦Été 😀</s>⟧",
        "verbatim": "<s>É ⟦té 😀</s>⟧!",
    },
    "llama3": {
        "chat": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nSei nett.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\n排序\u00a0😀?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦好的 ✓<|eot_id|>⟧"
        "<|start_header_id|>user<|end_header_id|>\n\nok?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦ja<|eot_id|>⟧",
        "pair": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nok?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦ja<|eot_id|>⟧",
        "pair with system": "<|begin_of_text|><|start_header_id|>system<|end_header_id|>\n\nSei nett.<|eot_id|>"
        "<|start_header_id|>user<|end_header_id|>\n\nok?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦ja<|eot_id|>⟧",
        "one exchange": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nok?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦ja<|eot_id|>⟧",
        "rejected": "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nok?<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦nö<|eot_id|>⟧",
        "text": "⟦Été 😀</s>⟧",
        "verbatim": "<s>É ⟦té 😀</s>⟧!",
    },
    "alpaca": {
        "chat": "Sei nett.\n\n### Instruction:\n排序\u00a0😀?\n\n### Response:\n⟦好的 ✓</s>⟧\n\n"
        "### Instruction:\nok?\n\n### Response:\n⟦ja</s>⟧\n\n",
        "pair": "Do it.\n\n### Instruction:\nok?\n\n### Response:\n⟦ja</s>⟧\n\n",
        "pair with system": "Sei nett.\n\n### Instruction:\nok?\n\n### Response:\n⟦ja</s>⟧\n\n",
        "one exchange": "Do it.\n\n### Instruction:\nok?\n\n### Response:\n⟦ja</s>⟧\n\n",
        "rejected": "Do it.\n\n### Instruction:\nok?\n\n### Response:\n⟦nö</s>⟧\n\n",
        "text": "⟦Été 😀</s>⟧",
        "verbatim": "<s>É ⟦té 😀</s>⟧!",
    },
    "jinja": {
        "chat": "<s>[INST] <<SYS>>\nSei nett.\n<</SYS>>\n\n排序\u00a0😀? [/INST]⟦ 好的 ✓ </s>⟧"
        "<s>[INST] ok? [/INST]⟦ ja </s>⟧",
        "pair": "<s>[INST] ok? [/INST]⟦ ja </s>⟧",
        "pair with system": "<s>[INST] <<SYS>>\nSei nett.\n<</SYS>>\n\nok? [/INST]⟦ ja </s>⟧",
        "one exchange": "<s>[INST] ok? [/INST]⟦ ja </s>⟧",
        "rejected": "<s>[INST] ok? [/INST]⟦ nö </s>⟧",
        "text": "⟦Été 😀</s>⟧",
        "verbatim": "<s>É ⟦té 😀</s>⟧!",
    },
}
RENDERED["native"] = RENDERED["chatml"]  # the toy tokenizer's own template is ChatML, written in Jinja

SYSTEM, QUESTION, ANSWER = "Sei nett.", "排序\u00a0😀?", "好的 ✓"
RECORDS: list[tuple[str, str, dict[str, Any]]] = [
    (
        "chat_rounds",
        "chat",
        {
            "chat_rounds": [
                {"role": "system", "content": SYSTEM},
                {"role": "human", "content": QUESTION},
                {"role": "bot", "content": ANSWER},
                {"role": "human", "content": "ok?"},
                {"role": "bot", "content": "ja"},
            ]
        },
    ),
    (
        "messages",
        "chat",
        {
            "messages": [
                {"role": "system", "content": SYSTEM},
                {"role": "user", "content": QUESTION},
                {"role": "assistant", "content": ANSWER},
                {"role": "user", "content": "ok?"},
                {"role": "assistant", "content": "ja"},
            ]
        },
    ),
    (
        "conversations",
        "chat",
        {
            "system": SYSTEM,
            "conversations": [
                {"from": "human", "value": QUESTION},
                {"from": "gpt", "value": ANSWER},
                {"from": "human", "value": "ok?"},
                {"from": "gpt", "value": "ja"},
            ],
        },
    ),
    (
        "alpaca",
        "chat",
        {"instruction": "ok?", "input": "", "output": "ja", "system": SYSTEM, "history": [[QUESTION, ANSWER]]},
    ),
    ("query_response", "chat", {"query": "ok?", "response": "ja", "system": SYSTEM, "history": [[QUESTION, ANSWER]]}),
    *(
        (f"{q}_{a}", kind, {q: "ok?", a: "ja", **system})
        for kind, system in (("pair", {}), ("pair with system", {"system": SYSTEM}))
        for q, a in (
            ("prompt", "answer"),
            ("prompt", "response"),
            ("prompt", "completion"),
            ("input", "output"),
            ("instruction", "output"),
            ("instruction", "response"),
            ("question", "answer"),
            ("question", "response"),
            ("query", "answer"),
            ("query", "response"),
        )
    ),
    ("alpaca", "pair", {"instruction": "ok?", "input": "", "output": "ja"}),
    (
        "prompt_completion",
        "one exchange",
        {"prompt": [{"role": "user", "content": "ok?"}], "completion": [{"role": "assistant", "content": "ja"}]},
    ),
    ("text", "text", {"text": "Été 😀"}),
    (
        "segments",
        "verbatim",
        {
            "segments": [
                {"label": False, "text": "<s>É "},
                {"label": True, "text": "té 😀</s>"},
                {"label": False, "text": "!"},
            ]
        },
    ),
]


def template(name: str, tmp_path: Path, tokenization: str = "whole") -> Template:
    framed: dict[str, Any] = {"tokenization": tokenization, "train_on": "assistant", "sanitize": "escape"}
    jinja: dict[str, Any] = {"variables": {}, "train_on": "assistant", "sanitize": "escape"}
    markers = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}
    (tmp_path / "inst.jinja").write_text(INST)
    return {
        "codefuse": lambda: CodeFuse(role_markers=markers, **framed),
        "chatml": lambda: ChatML(**framed),
        "llama3": lambda: Llama3(**framed),
        "alpaca": lambda: Alpaca(preamble="Do it.", **framed),
        "native": lambda: Native(**jinja),
        "jinja": lambda: Jinja(path=str(tmp_path / "inst.jinja"), **jinja),
    }[name]()


CONTROLS = ["<s>", "</s>", "<pad>"]
CONTROLS += [f"<|{n}|>" for n in ("im_start", "im_end", "begin_of_text", "start_header_id", "end_header_id", "eot_id")]
LETTERS = sorted(pre_tokenizers.ByteLevel.alphabet())
# ByteLevel's alphabet: the printable bytes are themselves, the others the letters from U+0100 on, in order
PRINTABLE = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
OTHERS = [byte for byte in range(256) if byte not in PRINTABLE]
LETTER_OF = {byte: chr(byte) for byte in PRINTABLE} | {byte: chr(0x100 + i) for i, byte in enumerate(OTHERS)}


def by_hand(rendering: str) -> tuple[list[int], list[bool]]:
    """Ids and mask of a rendering, one token for each byte and control token; the first is no target."""
    ids: list[int] = []
    mask: list[bool] = []
    learnt = False
    for piece in re.split(f"({'|'.join(map(re.escape, [*CONTROLS, '⟦', '⟧']))})", rendering):
        if piece in ("⟦", "⟧"):
            learnt = piece == "⟦"
            continue
        tokens = (
            [256 + CONTROLS.index(piece)]
            if piece in CONTROLS
            else [LETTERS.index(LETTER_OF[b]) for b in piece.encode()]
        )
        ids += tokens
        mask += [learnt] * len(tokens)
    return ids, [False, *mask[1:]]


def given(encoded: Encoded) -> tuple[list[int], list[bool]]:
    return encoded.ids.tolist(), encoded.supervised.tolist()


@pytest.mark.parametrize("name", RENDERED)
@pytest.mark.parametrize(("shape", "kind", "record"), RECORDS)
def test_shape_by_template(
    chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str, shape: Any, kind: str, record: dict[str, Any]
) -> None:
    expected = by_hand(RENDERED[name][kind])
    for format in (shape, None):
        example = parse(record, "a.jsonl:1", format=format, columns={})
        assert given(encode([example], template(name, tmp_path), chat_tokenizer)[0]) == expected


@pytest.mark.parametrize("name", RENDERED)
def test_preference_by_template(chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str) -> None:
    pair = parse({"prompt": "ok?", "chosen": "ja", "rejected": "nö"}, "a.jsonl:1", format=None, columns={})
    assert isinstance(pair, Preference)
    chosen, rejected = encode_preferences([pair], template(name, tmp_path), chat_tokenizer)[0]
    assert given(chosen) == by_hand(RENDERED[name]["one exchange"])
    assert given(rejected) == by_hand(RENDERED[name]["rejected"])


@pytest.mark.parametrize("name", RENDERED)
def test_tokens_by_template(chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path, name: str) -> None:
    record = {"input_ids": [256, 7, 264, 8], "labels": [256, -100, 264, 8]}
    example = parse(record, "a.jsonl:1", format=None, columns={})
    encoded = encode([example], template(name, tmp_path), chat_tokenizer)[0]
    assert given(encoded) == ([256, 7, 264, 8], [False, False, True, True])


def test_some_ids_by_hand(chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    """Ids of ByteLevel's alphabet in order: 'a' is its 64th letter (0x61 - 0x21), newline and space among the last."""
    record = {"question": "a", "answer": "é"}
    encoded = encode([parse(record, "a:1", format=None, columns={})], template("codefuse", tmp_path), chat_tokenizer)[0]
    human, bot = [71, 84, 76, 64, 77], [65, 78, 83]
    assert encoded.ids.tolist() == [256, *human, 198, 64, 198, 256, *bot, 198, 127, 102, 198, 257]
    assert encoded.supervised.tolist() == [False] * 14 + [True] * 4
