"""What is shown of dialogues."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import UserError
from mftcoder.data.records.source import Source
from mftcoder.data.tokens.encoding import encode
from mftcoder.data.tokens.preview import READ, SUPERVISED, coloured, previews
from mftcoder.template.chatml import ChatML
from mftcoder.template.codefuse import CodeFuse

TEMPLATE = CodeFuse(
    role_markers={"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"},
    tokenization="whole",
    train_on="assistant",
    sanitize="escape",
)
TURNS = (Turn("user", "a\tb"), Turn("assistant", "排\t😀 !"))


def test_every_token_is_shown_with_its_colour(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = encode([Dialogue(TURNS, "x:1")], TEMPLATE, tokenizer)[0]
    text = coloured(encoded, tokenizer)
    assert text.plain == "@1 user:<s>human⏎\na⇥b⏎\n@2 assistant:<s>bot⏎\n⟦排⇥😀·!⏎\n</s>⟧⏎\n"
    shown = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert shown["排"] in SUPERVISED
    assert shown["😀"] in SUPERVISED
    assert shown["</s>"] in SUPERVISED
    assert shown["<s>"] in READ
    styles = [str(span.style) for span in text.spans if str(span.style) in SUPERVISED]
    assert len(styles) == 7
    assert all(a != b for a, b in pairwise(styles))


def test_spaces_of_sentencepiece_are_shown(llama: PreTrainedTokenizerFast) -> None:
    encoded = encode([Dialogue((Turn("user", "a  b"), Turn("assistant", "c d")), "x:1")], TEMPLATE, llama)[0]
    assert "a··b" in coloured(encoded, llama).plain
    assert "c·d" in coloured(encoded, llama).plain


def test_records_are_shown_as_they_come_out_and_why_they_do_not(
    tokenizer: PreTrainedTokenizerFast, tmp_path: Path
) -> None:
    rounds = [{"role": "human", "content": "q"}, {"role": "bot", "content": "a"}]
    records = [
        {"chat_rounds": rounds},
        {"chat_rounds": rounds * 3},
        {"chat_rounds": [rounds[0], {"role": "bot", "content": "a" * 80}]},
        {"chat_rounds": rounds[:1]},
        {"chat_rounds": rounds[1:]},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(record) + "\n" for record in records) + "nonsense\n")
    source = Source((str(path),), format=None, columns={})
    shown = [
        text.plain.splitlines()[0]
        for text in previews(source, TEMPLATE, tokenizer, number=6, seq_length=40, too_long="split")
    ]
    assert shown == [
        f"{path}:1, 18 tokens, 3 supervised, whole 1/1",
        f"{path}:2, 36 tokens, 6 supervised, split 1/2",
        f"{path}:2, 18 tokens, 3 supervised, split 2/2",
        f"{path}:3: 97 tokens, dropped",
        f"{path}:4, 14 tokens, 0 supervised, whole 1/1",
        f"{path}:5: turn 1 is of role assistant; expected system or user",
        f"{path}:6: not JSON (Expecting value at column 1); expected one JSON object a line",
    ]
    whole = previews(source, TEMPLATE, tokenizer, number=2, seq_length=40, too_long=None)
    assert [text.plain.splitlines()[0] for text in whole][1] == f"{path}:2, 54 tokens, 9 supervised, whole 1/1"


def test_a_template_that_cannot_do_stops_at_once(tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"question": "q", "answer": "a"}\n')
    source = Source((str(tmp_path),), format=None, columns={})
    chatml = ChatML(tokenization="whole", train_on="assistant", sanitize="escape")
    with pytest.raises(UserError, match="no control token"):
        list(previews(source, chatml, tokenizer, number=6, seq_length=40, too_long="split"))
