"""What becomes of examples that are too long."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from rendered_dialogue import MARKERS, TURNS
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Pretokenised, Turn
from mftcoder.data.tokens.encoding import Encoded, encode
from mftcoder.data.tokens.too_long import Fate, TooLong, fit
from mftcoder.template.base import Template
from mftcoder.template.codefuse import CodeFuse
from mftcoder.template.llama3 import Llama3

MFTCODER = CodeFuse(role_markers=MARKERS, tokenization="whole", train_on="assistant", sanitize="escape")


def fitted(
    tokenizer: PreTrainedTokenizerFast,
    turns: tuple[Turn, ...],
    seq_length: int,
    too_long: TooLong,
    template: Template = MFTCODER,
    kind: Any = "chat",
) -> tuple[list[Encoded], Fate]:
    encoded = encode([Dialogue(turns, "x:1", kind)], template, tokenizer)[0]
    return fit(encoded, template, tokenizer, seq_length=seq_length, too_long=too_long)


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
    pieces, what = fitted(tokenizer, TURNS, length, too_long)
    assert [tokenizer.decode(piece.ids[piece.supervised]) for piece in pieces] == words
    assert what == fate
    assert all(
        len(piece) <= length and tokenizer.decode(piece.ids).startswith("<s>system\nSei nett.\n<s>human\n")
        for piece in pieces
    )


def test_text_is_split_into_windows_that_teach_each_token_once(tokenizer: PreTrainedTokenizerFast) -> None:
    text = (Turn("assistant", "abcdefghi"),)
    pieces, fate = fitted(tokenizer, text, 4, "split", kind="text")
    assert fate == "split"
    assert [tokenizer.decode(piece.ids[piece.supervised]) for piece in pieces] == ["bcd", "efg", "hi\n", "</s>"]
    pieces, fate = fitted(tokenizer, text, 4, "truncate", kind="text")
    assert fate == "cut"
    assert [tokenizer.decode(piece.ids) for piece in pieces] == ["abcd"]


def test_tokens_are_split_into_windows_and_those_with_nothing_to_learn_are_not_kept(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    supervised = np.array([True, True, False, False, False, False, False, True])
    source = Pretokenised(np.arange(8, dtype=np.int32), supervised, "x:1")
    pieces, fate = fit(encode([source], MFTCODER, tokenizer)[0], MFTCODER, tokenizer, seq_length=3, too_long="split")
    assert [piece.ids.tolist() for piece in pieces] == [[0, 1, 2], [6, 7]]
    assert [piece.supervised.tolist() for piece in pieces] == [[False, True, False], [False, True]]
    assert fate == "cut"


def test_exchanges_are_put_together_as_far_as_they_fit(tokenizer: PreTrainedTokenizerFast) -> None:
    talk = tuple(turn for i in range(5) for turn in (Turn("user", f"q{i}"), Turn("assistant", f"a{i}")))
    one_exchange = len("human\nq0\n") + 1 + len("bot\na0\n") + 1 + 2
    pieces, fate = fitted(tokenizer, talk, 2 * one_exchange + 1, "split")
    assert [tokenizer.decode(piece.ids[piece.supervised]) for piece in pieces] == [
        "a0\n</s>a1\n</s>",
        "a2\n</s>a3\n</s>",
        "a4\n</s>",
    ]
    assert fate == "split"


def test_pieces_are_rendered_as_the_dialogues_that_they_are(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    llama3 = Llama3(tokenization="whole", train_on="assistant", sanitize="escape")
    talk = (Turn("user", "q0"), Turn("assistant", "a0"), Turn("user", "q1"), Turn("assistant", "a1"))
    pieces, _ = fitted(chat_tokenizer, talk, 40, "split", llama3)
    assert [chat_tokenizer.decode(piece.ids) for piece in pieces] == [
        f"<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nq{i}<|eot_id|>"
        f"<|start_header_id|>assistant<|end_header_id|>\n\na{i}<|eot_id|>"
        for i in range(2)
    ]


@pytest.mark.parametrize("too_long", ["truncate", "split"])
def test_the_last_answer_of_a_piece_is_not_the_last_of_the_dialogue(
    tokenizer: PreTrainedTokenizerFast, too_long: TooLong
) -> None:
    last = CodeFuse(role_markers=MARKERS, tokenization="whole", train_on="last", sanitize="escape")
    pieces, fate = fitted(tokenizer, TURNS, 76, too_long, last)
    learnt = [tokenizer.decode(piece.ids[piece.supervised]) for piece in pieces]
    assert (learnt, fate) == (([], "dropped") if too_long == "truncate" else (["ja\n\n</s>"], "cut"))


def test_an_exchange_that_cannot_fit_does_not_take_its_neighbours_along(tokenizer: PreTrainedTokenizerFast) -> None:
    """Sizes are those of the whole dialogue; where a piece comes out longer, its exchanges are tried one by one."""

    class Growing(CodeFuse):
        def chat(self, dialogue: Dialogue, trained: list[bool], tokenizer: Any) -> Any:
            shown = super().chat(dialogue, trained, tokenizer)
            return [*shown, *shown[-1:] * 9] if len(dialogue.turns) == 4 else shown

    template = Growing(role_markers=MARKERS, tokenization="whole", train_on="assistant", sanitize="escape")
    talk = tuple(turn for i in range(3) for turn in (Turn("user", f"q{i}"), Turn("assistant", f"a{i}")))
    pieces, fate = fitted(tokenizer, talk, 44, "split", template)
    assert [tokenizer.decode(piece.ids[piece.supervised]) for piece in pieces] == ["a0\n</s>", "a1\n</s>", "a2\n</s>"]
    assert fate == "split"


def test_truncation_keeps_the_answers_before_a_tool_that_does_not_fit(tokenizer: PreTrainedTokenizerFast) -> None:
    template = CodeFuse(
        role_markers=MARKERS | {"tool": "<s>tool\n"}, tokenization="whole", train_on="assistant", sanitize="escape"
    )
    turns = (Turn("user", "q"), Turn("assistant", "call"), Turn("tool", "t" * 50), Turn("assistant", "a"))
    pieces, fate = fitted(tokenizer, turns, 60, "truncate", template)
    assert [tokenizer.decode(piece.ids) for piece in pieces] == ["<s>human\nq\n<s>bot\ncall\n</s>\n"]
    assert fate == "cut"
