"""The tokenizer's own template."""

from __future__ import annotations

from marked_text import TALK, U, marked, native, with_template
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
