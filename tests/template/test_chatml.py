"""ChatML."""

from __future__ import annotations

from marked_text import A, S, T, U, chatml, marked
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Turn


def test_every_role_has_its_name(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(S, "s"), Turn(U, " q\n"), Turn(A, "call"), Turn(T, "2"), Turn(A, "2!"))
    assert marked(chatml(), chat_tokenizer, *turns) == (
        "<|im_start|>system\ns<|im_end|>\n<|im_start|>user\n q\n<|im_end|>\n<|im_start|>assistant\n⟦call<|im_end|>⟧\n"
        "<|im_start|>tool\n2<|im_end|>\n<|im_start|>assistant\n⟦2!<|im_end|>⟧\n"
    )


def test_answers_end_with_its_own_token(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    assert chatml().ends(chat_tokenizer) == {"<|im_end|>"}
