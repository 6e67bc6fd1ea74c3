"""Token ids and masks, against expectations written by hand."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.data.encoding import Encoded, encode
from mftcoder.data.fitting import fit
from mftcoder.template.mftcoder import MFTCoder

MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}
TURNS = (
    Turn("system", "Sei nett."),
    Turn("user", "排序\u00a0😀"),
    Turn("assistant", "好的 ✓"),
    Turn("user", "ok?"),
    Turn("assistant", "ja\n"),
)


def template(tokenization: str = "whole", train_on: object = "assistant", sanitize: str = "escape") -> MFTCoder:
    return MFTCoder(role_markers=MARKERS, tokenization=tokenization, train_on=train_on, sanitize=sanitize)


def one(turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerFast, template: MFTCoder, kind: str = "chat") -> Encoded:
    return encode([Dialogue(turns, "x:1", kind=kind)], template, tokenizer)[0]


@pytest.mark.parametrize("tokenization", ["whole", "segments"])
def test_a_dialogue_is_rendered_as_the_original_does(tokenizer: PreTrainedTokenizerFast, tokenization: str) -> None:
    encoded = one(TURNS, tokenizer, template(tokenization))
    assert tokenizer.decode(encoded.ids) == (
        "<s>system\nSei nett.\n<s>human\n排序 😀\n<s>bot\n好的 ✓\n</s>\n<s>human\nok?\n<s>bot\nja\n\n</s>\n"
    )
    assert tokenizer.decode(encoded.ids[encoded.supervised]) == "好的 ✓\n</s>ja\n\n</s>"
    assert [encoded.turn.tolist().count(i) for i in range(5)] == [18, 19, 18, 11, 11]


def test_the_first_token_is_never_a_target(tokenizer: PreTrainedTokenizerFast) -> None:
    encoded = one((Turn("assistant", "abc"),), tokenizer, template(), kind="text")
    assert tokenizer.decode(encoded.ids) == "abc\n</s>"
    assert encoded.supervised.tolist() == [False, True, True, True, True]


@pytest.mark.parametrize(
    ("too_long", "length", "words", "fate"),
    [
        ("truncate", 77, ["好的 ✓\n</s>ja\n\n</s>"], "whole"),
        ("truncate", 76, ["好的 ✓\n</s>"], "cut"),
        ("truncate", 54, [], "dropped"),
        ("split", 76, ["好的 ✓\n</s>", "ja\n\n</s>"], "split"),
        ("split", 54, ["ja\n\n</s>"], "cut"),
        ("drop", 76, [], "dropped"),
    ],
)
def test_too_long_dialogues_are_cut_at_turns(
    tokenizer: PreTrainedTokenizerFast, too_long: str, length: int, words: list[str], fate: str
) -> None:
    pieces, what = fit(one(TURNS, tokenizer, template()), template(), tokenizer, seq_length=length, too_long=too_long)
    assert [tokenizer.decode(piece.ids[piece.supervised]) for piece in pieces] == words
    assert what == fate
    assert all(
        len(piece) <= length and tokenizer.decode(piece.ids).startswith("<s>system\nSei nett.\n<s>human\n")
        for piece in pieces
    )


def test_text_is_split_into_windows_that_teach_each_token_once(tokenizer: PreTrainedTokenizerFast) -> None:
    pieces, fate = fit(
        one((Turn("assistant", "abcdefghi"),), tokenizer, template(), kind="text"),
        template(),
        tokenizer,
        seq_length=4,
        too_long="split",
    )
    assert fate == "split"
    assert [tokenizer.decode(piece.ids[piece.supervised]) for piece in pieces] == ["bcd", "efg", "hi\n", "</s>"]
