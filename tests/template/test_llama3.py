"""Llama 3's format."""

from __future__ import annotations

from marked_text import A, T, U, marked
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Turn
from mftcoder.template.llama3 import Llama3

LLAMA3 = Llama3(tokenization="whole", train_on="assistant", sanitize="escape")


def test_words_are_trimmed_and_tools_are_ipython(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(U, " q\n"), Turn(A, "call"), Turn(T, "2"), Turn(A, "2!"))
    assert marked(LLAMA3, chat_tokenizer, *turns) == (
        "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nq<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦call<|eot_id|>⟧"
        "<|start_header_id|>ipython<|end_header_id|>\n\n2<|eot_id|>"
        "<|start_header_id|>assistant<|end_header_id|>\n\n⟦2!<|eot_id|>⟧"
    )


def test_answers_end_with_its_own_token(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    assert LLAMA3.ends(chat_tokenizer) == {"<|eot_id|>"}
