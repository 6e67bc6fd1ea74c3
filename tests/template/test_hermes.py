"""Tools in the template that ships: what is shown of them, and what of it is supervised."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from marked_text import TALK, A, T, U, marked
from small_models import preset
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import UserError
from mftcoder.data.tokens.encoding import encode

TOOLS: Any = ({"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}},)
CALL: Any = ({"type": "function", "function": {"name": "add", "arguments": {"a": 1}}},)
TURNS = (Turn(U, "1+1?"), Turn(A, "", tool_calls=CALL), Turn(T, "2"), Turn(A, "2!"))


def test_tools_calls_and_responses_are_shown_and_answers_supervised(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    shown = marked(preset("template/hermes"), chat_tokenizer, *TURNS, tools=TOOLS)
    assert shown.startswith("<|im_start|>system\n# Tools\n")
    assert '<tools>\n{"type": "function", "function": {"name": "add"' in shown
    assert shown.endswith(
        "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n"
        '⟦<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call><|im_end|>⟧\n'
        "<|im_start|>tool\n<tool_response>\n2\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n⟦2!<|im_end|>⟧\n"
    )


def test_without_tools_it_is_chatml(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    assert marked(preset("template/hermes"), chat_tokenizer, *TALK) == marked(
        preset("template/chatml"), chat_tokenizer, *TALK
    )


def test_what_is_exported_renders_the_same(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    template = preset("template/hermes")
    tokenizer = deepcopy(chat_tokenizer)
    tokenizer.chat_template = template.jinja(tokenizer)
    assert "generation -%}" not in tokenizer.chat_template
    messages = [{"role": "user", "content": "1+1?"}]
    question = Dialogue((Turn(U, "1+1?"),), "a:1", tools=TOOLS)
    asked = tokenizer.apply_chat_template(messages, tools=list(TOOLS), tokenize=False, add_generation_prompt=True)
    assert asked == template.prompt(question, chat_tokenizer)


def test_tokens_follow_the_mask(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    (encoded,) = encode([Dialogue(TURNS, "a:1", tools=TOOLS)], preset("template/hermes"), chat_tokenizer)
    supervised = chat_tokenizer.decode(encoded.ids[encoded.supervised])
    assert supervised.count("<|im_end|>") == 2
    assert "tool_call" in supervised
    assert "tool_response" not in supervised


def test_a_tokenizer_without_its_tokens_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"no control token <\|im_start\|>"):
        marked(preset("template/hermes"), tokenizer, *TALK)
