"""What all templates have in common: `train_on`, prompts, and what they refuse."""

from __future__ import annotations

from typing import Any

import pytest
from marked_text import TALK, A, U, chatml, codefuse, marked, native
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import UserError
from mftcoder.template.alpaca import Alpaca

LEARNT = {"assistant": ["a1", "a2"], "last": ["a2"], "user": ["q1", "q2"], "system,user": ["s", "q1", "q2"]}


@pytest.mark.parametrize("make", [codefuse, chatml, native])
@pytest.mark.parametrize("train_on", LEARNT)
def test_train_on(chat_tokenizer: PreTrainedTokenizerFast, make: Any, train_on: str) -> None:
    shown = marked(make(train_on if train_on in ("assistant", "last") else train_on.split(",")), chat_tokenizer, *TALK)
    expected = shown.replace("⟦", "").replace("⟧", "")
    for word in LEARNT[train_on]:
        end = "<|im_end|>" if make is not codefuse else "\n</s>" if word.startswith("a") else "\n"
        expected = expected.replace(f"\n{word}{end}", f"\n⟦{word}{end}⟧")
    assert shown == expected
    assert shown.count("⟦") == len(LEARNT[train_on])


@pytest.mark.parametrize("make", [codefuse, chatml, native])
def test_train_on_all_is_every_token(chat_tokenizer: PreTrainedTokenizerFast, make: Any) -> None:
    shown = marked(make("all"), chat_tokenizer, *TALK)
    assert shown.startswith("⟦")
    assert shown.endswith("⟧")
    assert shown.count("⟦") == 1


def test_a_turn_says_itself_whether_it_is_learnt(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(U, "q1", train=True), Turn(A, "a1", train=False), Turn(U, "q2"), Turn(A, "a2"))
    for make in (chatml, native):
        assert marked(make("assistant"), chat_tokenizer, *turns) == (
            "<|im_start|>user\n⟦q1<|im_end|>⟧\n<|im_start|>assistant\na1<|im_end|>\n"
            "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n⟦a2<|im_end|>⟧\n"
        )


@pytest.mark.parametrize("make", [codefuse, chatml, native])
def test_the_prompt_is_what_stands_before_the_answer(chat_tokenizer: PreTrainedTokenizerFast, make: Any) -> None:
    template = make()
    whole = "".join(piece.text for piece in template.render(Dialogue(TALK, "a:1"), chat_tokenizer))
    prompt = template.prompt(Dialogue(TALK[:-1], "a:1"), chat_tokenizer)
    assert whole.startswith(prompt + "a2")
    assert template.prompt(Dialogue((Turn(A, "x\u00a0y"),), "a:1", kind="text"), chat_tokenizer).startswith("x")
    with pytest.raises(ValueError, match="ends with an assistant turn"):
        template.prompt(Dialogue(TALK, "a:1"), chat_tokenizer)


def test_a_tokenizer_without_the_templates_tokens_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"has no control token <\|im_start\|>.*\(it has </s>, <pad>, <s>\)"):
        marked(chatml(), tokenizer, *TALK)
    nameless = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match="no eos_token"):
        marked(codefuse(), nameless, *TALK)


@pytest.mark.parametrize(
    ("turn", "more"),
    [
        (Turn(A, "a", extra={"reasoning_content": "r"}), {}),
        (Turn(A, "a", tool_calls=({"name": "f"},)), {}),
        (Turn(A, "a"), {"tools": ({"name": "f"},)}),
    ],
)
def test_what_a_template_cannot_show_is_not_dropped(
    chat_tokenizer: PreTrainedTokenizerFast, turn: Turn, more: Any
) -> None:
    alpaca = Alpaca(preamble="p", tokenization="whole", train_on="last", sanitize="keep")
    for template in (codefuse(), chatml(), alpaca):
        with pytest.raises(ValueError, match="cannot show; use template=native"):
            marked(template, chat_tokenizer, Turn(U, "q"), turn, **more)
