"""The byte that each token ends on, against the tokenizer's own offsets."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mftcoder.data.tokens.offsets import Aligner

CONTROLS = ["<s>", "</s>", "<think>", "<unk>"]
WORDS = [" ", "  ", "\n", "\n\n", "a", "sort", "排序", "😀", "é", "e\u0301", "\u0958", "İ", "\x00", "▁", "\u00a0"]
PIECES = st.sampled_from(CONTROLS + WORDS)
TEXTS = st.lists(
    st.lists(PIECES | st.text(max_size=4).filter(lambda t: t.isprintable()), max_size=12).map("".join), max_size=6
)


def reference(tokenizer: Tokenizer, text: str) -> tuple[list[int], list[int]]:
    """Ids, and by offsets the byte on which the last character of each token begins."""
    tokenizer = Tokenizer.from_str(tokenizer.to_str())
    tokenizer.post_processor = None
    encoding = tokenizer.encode(text, add_special_tokens=False)
    lasts = [min(max(start, stop - 1), len(text) - 1) for start, stop in encoding.offsets]
    return encoding.ids, np.maximum.accumulate([len(text[:last].encode()) for last in lasts] or [0]).tolist()[
        : len(lasts)
    ]


def begin(text: str, byte: int) -> int:
    """The byte on which the character begins that `byte` is part of."""
    data = text.encode()
    while byte > 0 and data[byte] & 0xC0 == 0x80:
        byte -= 1
    return byte


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=TEXTS)
def test_tokens_end_where_the_offsets_say(kind: PreTrainedTokenizerFast, texts: list[str]) -> None:
    inner = kind.backend_tokenizer
    ids, last, counts = Aligner(inner)(texts)
    at = text_start = 0
    for text, count in zip(texts, counts, strict=True):
        wanted_ids, wanted_last = reference(inner, text)
        assert ids[at : at + count].tolist() == wanted_ids
        assert [begin(text, int(b) - text_start) for b in last[at : at + count]] == wanted_last
        at += int(count)
        text_start += len(text.encode())
    assert at == len(ids) == len(last)


@pytest.mark.parametrize("text", ["def sort(values):\n    return 排序 😀</s>", "x</s>y <s>z\n\n", "é"])
def test_offsets_are_seldom_needed(kind: PreTrainedTokenizerFast, text: str, request: pytest.FixtureRequest) -> None:
    aligner = Aligner(kind.backend_tokenizer)
    calls = []

    class Counting:
        def __getattr__(self, name: str) -> object:
            calls.append(name)
            return getattr(aligner_tokenizer, name)

    aligner_tokenizer = aligner.tokenizer
    aligner.tokenizer = Counting()  # type: ignore[assignment]
    aligner([text])
    slow = any(name in request.node.name for name in ("lower case", "decomposed", "words"))
    assert ("encode" in calls) == slow
