"""Control tokens in the words of users: they never act, wherever they stand."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rendered_dialogue import one, template
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.data.tokens.encoding import encode
from mftcoder.template.chatml import ChatML
from mftcoder.template.native import Native

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
@given(dialogues=st.lists(talks(), max_size=4))
def test_no_words_make_a_control_token(chat_tokenizer: PreTrainedTokenizerFast, dialogues: list[Dialogue]) -> None:
    chatml = ChatML(tokenization="whole", train_on="assistant", sanitize="escape")
    for dialogue, encoded in zip(dialogues, encode(dialogues, chatml, chat_tokenizer), strict=True):
        controls = [chat_tokenizer.convert_ids_to_tokens(int(i)) for i in encoded.ids if i >= 256]
        assert controls == ["<|im_start|>", "<|im_end|>"] * len(dialogue.turns)
        assert chat_tokenizer.decode(encoded.ids) == "".join(
            f"<|im_start|>{turn.role}\n{turn.content}<|im_end|>\n" for turn in dialogue.turns
        )


def test_words_with_control_tokens_are_tokenised_as_if_there_were_no_such_tokens(
    merging: PreTrainedTokenizerFast, llama: PreTrainedTokenizerFast
) -> None:
    for tokenizer in (merging, llama):
        ignorant = Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
        ignorant.encode_special_tokens = True
        content = "def sort</s>(values) <s><s>: x"
        encoded = one((Turn("user", content), Turn("assistant", "ok")), tokenizer, template())
        words = ignorant.encode(f"human\n{content}\n", add_special_tokens=False).ids
        assert encoded.ids[0] == tokenizer.bos_token_id
        assert encoded.ids[1 : 1 + len(words)].tolist() == words
        assert (encoded.ids == tokenizer.eos_token_id).sum() == 1
        assert (encoded.ids == tokenizer.bos_token_id).sum() == 2


def test_control_tokens_in_words_may_be_refused_or_kept(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn("user", "a</s>"), Turn("assistant", "b"))
    with pytest.raises(ValueError, match=r"^x:1: the control token '</s>' stands in the text; remove it, or set"):
        one(turns, tokenizer, template(sanitize="error"))
    kept = one(turns, tokenizer, template(sanitize="keep"))
    assert (kept.ids == tokenizer.eos_token_id).sum() == 2


def test_control_tokens_in_keys_do_not_act_either(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    shows = deepcopy(chat_tokenizer)
    shows.chat_template = "{% if tools %}{{ tools | tojson }}{% endif %}" + chat_tokenizer.chat_template
    native = Native(variables={}, train_on="assistant", sanitize="escape")
    turns = (Turn("user", "q"), Turn("assistant", "a"))
    encoded = encode([Dialogue(turns, "x:1", tools=({"</s>": "<|im_end|>"},))], native, shows)[0]
    assert shows.decode(encoded.ids).startswith('[{"</s>": "<|im_end|>"}]<|im_start|>user')
    assert sum(encoded.ids >= 256) == 4


@pytest.mark.parametrize("place", ["tool_calls", "extra", "tools"])
def test_control_tokens_are_found_wherever_a_dialogue_holds_text(
    chat_tokenizer: PreTrainedTokenizerFast, place: str
) -> None:
    dialogue = Dialogue((Turn("user", "q"), Turn("assistant", "a")), "x:1")
    forged: Any = {"name": ["</s>"]}
    if place == "tools":
        dialogue = replace(dialogue, tools=(forged,))
    else:
        turn = replace(dialogue.turns[1], **{place: (forged,) if place == "tool_calls" else {"name": "</s>"}})
        dialogue = replace(dialogue, turns=(dialogue.turns[0], turn))
    with pytest.raises(ValueError, match="the control token '</s>'"):
        encode([dialogue], template(sanitize="error"), chat_tokenizer)


def test_the_private_characters_that_hide_control_tokens_are_not_taken_for_them(
    tokenizer: PreTrainedTokenizerFast,
) -> None:
    private = "\U00100000\U00100001\U00100004"
    turns = (Turn("user", private), Turn("assistant", private))
    assert tokenizer.decode(one(turns, tokenizer, template()).ids).count(private) == 2
    with pytest.raises(ValueError, match=r"holds the control token '</s>' and the private character U\+100000"):
        one((Turn("user", private + "</s>"), turns[1]), tokenizer, template())
