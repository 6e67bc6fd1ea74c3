"""Alpaca's headings."""

from __future__ import annotations

import pytest
from marked_text import A, T, U, marked
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Turn
from mftcoder.template.alpaca import Alpaca


def test_alpaca_has_no_tools(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    alpaca = Alpaca(preamble="p", tokenization="whole", train_on="last", sanitize="keep")
    with pytest.raises(ValueError, match="a turn of role tool"):
        marked(alpaca, chat_tokenizer, Turn(U, "q"), Turn(A, "a"), Turn(T, "t"))
