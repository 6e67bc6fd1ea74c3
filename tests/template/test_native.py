"""The tokenizer's own template."""

from __future__ import annotations

import pytest
from marked_text import TALK, A, U, marked, native, with_template
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn


def test_variables_reach_the_template(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    thinking = "{% if enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}"
    tokenizer = with_template(chat_tokenizer, str(chat_tokenizer.chat_template) + thinking)
    prompt = native(enable_thinking=False).prompt(Dialogue((Turn(U, "q"),), "a:1"), tokenizer)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_answers_end_with_what_the_template_ends_them_with(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    assert native().ends(chat_tokenizer) == {"<|im_end|>"}


def test_it_renders_as_transformers_does(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    messages = [{"role": turn.role, "content": turn.content} for turn in TALK]
    shown = marked(native(), chat_tokenizer, *TALK).replace("⟦", "").replace("⟧", "")
    assert shown == chat_tokenizer.apply_chat_template(messages, tokenize=False)


def test_a_template_that_leaves_out_tools_is_refused_rather_than_learnt_from(
    chat_tokenizer: PreTrainedTokenizerFast,
) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    with pytest.raises(ValueError, match="leaves tools out"):
        marked(native(), chat_tokenizer, *TALK, tools=({"name": "add"},))
    with pytest.raises(ValueError, match="leaves tool calls out"):
        marked(native(), chat_tokenizer, Turn(U, "q"), Turn(A, "", tool_calls=(call,)))
