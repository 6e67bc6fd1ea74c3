"""Token ids and masks, against expectations written by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rendered_dialogue import TURNS, one, template
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Preference, Pretokenised, Turn
from mftcoder.core.errors import UserError
from mftcoder.data.records.faults import Fault
from mftcoder.data.records.parsing import parse
from mftcoder.data.tokens.encoding import encode, encode_prompt
from mftcoder.template.base import Template
from mftcoder.template.chatml import ChatML


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


QUIET = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
WORDS = st.text(max_size=12).filter(lambda t: t.encode("utf-8", "ignore").decode() == t) | st.sampled_from(
    ["</s>", "x<s>human\n", "\n\n", " a", "😀", "\u0301", "<think>", "</s></s>"]
)


def talks() -> st.SearchStrategy[Dialogue]:
    """Dialogues of one to three exchanges, some with a system turn."""
    exchange = st.tuples(WORDS.map(lambda w: Turn("user", w)), WORDS.map(lambda w: Turn("assistant", w)))
    head = st.sampled_from([(), (Turn("system", "s"),)])
    return st.tuples(head, st.lists(exchange, min_size=1, max_size=3)).map(
        lambda parts: Dialogue((*parts[0], *(turn for pair in parts[1] for turn in pair)), "a:1")
    )


@QUIET
@given(dialogues=st.lists(talks(), max_size=4), tokenization=st.sampled_from(["whole", "segments"]))
def test_what_is_learnt_is_what_the_assistant_says(
    tokenizer: PreTrainedTokenizerFast, dialogues: list[Dialogue], tokenization: str
) -> None:
    for dialogue, encoded in zip(dialogues, encode(dialogues, template(tokenization), tokenizer), strict=True):
        assert encoded.source == dialogue
        for i, turn in enumerate(dialogue.turns):
            learnt = encoded.ids[(encoded.turn == i) & encoded.supervised]
            if turn.role == "assistant":
                assert learnt[-1] == tokenizer.eos_token_id
                assert (
                    tokenizer.decode(learnt[:-1]) == turn.content.replace("\u00a0", " ").replace("\u202f", " ") + "\n"
                )
            else:
                assert len(learnt) == 0
        starts, ends = np.diff(encoded.supervised.astype(int)) == 1, np.diff(encoded.supervised.astype(int)) == -1
        assert starts.sum() == sum(turn.role == "assistant" for turn in dialogue.turns)
        assert all(encoded.turn[1:][starts] == encoded.turn[:-1][ends])


def test_the_author_of_segments_writes_control_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn("user", "<s>a", train=False), Turn("assistant", "b</s>", train=True))
    encoded = one(turns, tokenizer, template(sanitize="error"), kind="verbatim")
    assert encoded.ids[[0, -1]].tolist() == [256, 257]
    assert encoded.supervised.tolist() == [False, False, True, True]


def original(turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerFast, kind: str) -> tuple[list[int], list[int]]:
    """The original's ids and mask, in its own words: one call of the tokenizer a segment, masks a segment each.

    data/preprocess_data.py of codefuse-ai/CodeFuse as research described it: chat_rounds are tokenised as [system],
    [user marker, user, assistant marker], [answer] + eos, [newline]; pairs as [all up to the answer], [answer] + eos.
    """

    def tokens(text: str) -> list[int]:
        return tokenizer(text.replace("\u00a0", " ").replace("\u202f", " "), add_special_tokens=False)["input_ids"]

    ids: list[int] = []
    mask: list[int] = []

    def add(new: list[int], learnt: int) -> None:
        ids.extend(new)
        mask.extend([learnt] * len(new))

    before = ""
    for turn in turns:
        if turn.role == "system":
            before = f"<s>system\n{turn.content}\n"
            if kind == "chat":
                add(tokens(before), 0)
                before = ""
        elif turn.role == "user":
            add(tokens(f"{before}<s>human\n{turn.content}\n<s>bot\n"), 0)
        else:
            add([*tokens(turn.content + "\n"), tokenizer.eos_token_id], 1)
            if kind == "chat":
                add(tokens("\n"), 0)
    return ids, mask


@pytest.mark.parametrize("kind", ["chat", "pair"])
def test_segments_are_tokenised_as_the_original_did(
    merging: PreTrainedTokenizerFast, llama: PreTrainedTokenizerFast, kind: str
) -> None:
    turns = TURNS if kind == "chat" else TURNS[:3]
    for tokenizer in (merging, llama):
        ids, mask = original(turns, tokenizer, kind)
        encoded = one(turns, tokenizer, template("segments"), kind)
        assert encoded.ids.tolist() == ids
        assert encoded.supervised.tolist() == [bool(m) for m in mask]
        whole = one(turns, tokenizer, template(), kind)
        assert (whole.ids.tolist() == ids) == (tokenizer is merging)  # SentencePiece puts a space before each segment


def test_a_token_across_a_boundary_belongs_to_where_it_ends(merging: PreTrainedTokenizerFast) -> None:
    newlines = merging.convert_tokens_to_ids("ĊĊ")
    assert newlines is not None
    encoded = one((Turn("user", "a"), Turn("assistant", "\n\nsort")), merging, template())
    at = encoded.ids.tolist().index(newlines)
    assert merging.decode(encoded.ids[: at + 1]).endswith("<s>bot\n\n")
    assert encoded.supervised[at : at + 2].tolist() == [True, True]
    assert not encoded.supervised[:at].any()


def test_the_prompt_is_encoded_as_the_beginning_of_the_dialogue(tokenizer: PreTrainedTokenizerFast) -> None:
    for words in ("排序", "for</s>ged"):
        turns = (Turn("user", words), Turn("assistant", "ja"))
        whole = one(turns, tokenizer, template())
        prompt = encode_prompt(Dialogue(turns[:1], "x:1"), template(), tokenizer)
        assert prompt.dtype == np.int32
        assert whole.ids[: len(prompt)].tolist() == prompt.tolist()
        assert int(np.argmax(whole.supervised)) == len(prompt)


def test_the_chosen_half_of_a_preference_pair_is_learnt_as_the_refusal_says(tokenizer: PreTrainedTokenizerFast) -> None:
    said = [{"role": "user", "content": "ok?"}, {"role": "assistant", "content": "ja"}]
    whole = {"chosen": said, "rejected": [said[0], {"role": "assistant", "content": "nein"}]}
    answer = {"prompt": "ok?", "chosen": "ja", "rejected": "nein"}
    for record, columns in ((answer, {"completion": "chosen"}), (whole, {"messages": "chosen"})):
        with pytest.raises(ValueError, match=f"columns.{next(iter(columns))}=chosen"):
            encode([parse(record, "x:1", format=None, columns={})], template(), tokenizer)
        example = parse(record, "x:1", format=None, columns=columns)
        assert isinstance(example, Dialogue)
        assert [(turn.role, turn.content) for turn in example.turns] == [("user", "ok?"), ("assistant", "ja")]


def test_faults_are_collected_and_the_rest_is_encoded(tokenizer: PreTrainedTokenizerFast) -> None:
    good = Dialogue((Turn("user", "a"), Turn("assistant", "b")), "x:1")
    tools = Dialogue((Turn("user", "a"), Turn("assistant", "b"), Turn("tool", "c")), "x:2")
    far = Pretokenised(np.array([1, 999], np.int32), np.ones(2, np.bool_), "x:4")
    examples = [good, tools, Preference(good, replace(good, origin="x:3")), far, replace(good, origin="x:5")]
    faults: list[Fault] = []
    encoded = encode(examples, template(), tokenizer, faults)
    assert [e.source.origin for e in encoded] == ["x:1", "x:5"]
    assert [fault.origin for fault in faults] == ["x:2", "x:1", "x:4"]
    reasons = [fault.reason for fault in faults]
    assert reasons[1].startswith("a preference pair, from which no objective learns; ")
    assert reasons[2] == "input_ids from 1 to 999; this tokenizer has those from 0 to 258"
    for example, reason in zip(examples[1:4], reasons, strict=True):
        with pytest.raises(ValueError, match=f"^{example.origin}: ") as error:
            encode([example], template(), tokenizer)
        assert reason in str(error.value)


def test_a_fault_of_the_setup_is_not_a_fault_of_a_record(tokenizer: PreTrainedTokenizerFast) -> None:
    chatml: Template = ChatML(tokenization="whole", train_on="assistant", sanitize="escape")
    with pytest.raises(UserError, match="no control token"):
        encode([Dialogue(TURNS, "x:1")], chatml, tokenizer, [])


def test_nothing_gives_nothing(tokenizer: PreTrainedTokenizerFast) -> None:
    assert encode([], template(), tokenizer) == []
    empty = one((Turn("assistant", ""),), tokenizer, template(), kind="verbatim")
    assert len(empty) == 0


def test_a_slow_tokenizer_is_refused() -> None:
    class Slow:
        def __len__(self) -> int:
            return 3

    with pytest.raises(UserError, match="Slow is not a fast one"):
        encode([], template(), Slow())
