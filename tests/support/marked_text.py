"""Renderings in which what is learnt can be seen."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.template.base import Template
from mftcoder.template.chatml import ChatML
from mftcoder.template.codefuse import CodeFuse
from mftcoder.template.native import Native

S, U, A, T = "system", "user", "assistant", "tool"
TALK = (Turn(S, "s"), Turn(U, "q1"), Turn(A, "a1"), Turn(U, "q2"), Turn(A, "a2"))
MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}


def marked(template: Template, tokenizer: PreTrainedTokenizerFast, *turns: Turn, **more: Any) -> str:
    """The rendering, with ⟦ and ⟧ around what is learnt."""
    pieces = template.render(Dialogue(turns, "a:1", **more), tokenizer)
    return "".join(f"⟦{p.text}⟧" if p.supervised and p.text else p.text for p in pieces).replace("⟧⟦", "")


def codefuse(train_on: Any = "assistant", **markers: str) -> CodeFuse:
    return CodeFuse(role_markers=MARKERS | markers, tokenization="whole", train_on=train_on, sanitize="escape")


def chatml(train_on: Any = "assistant") -> ChatML:
    return ChatML(tokenization="whole", train_on=train_on, sanitize="escape")


def native(train_on: Any = "assistant", **variables: Any) -> Native:
    return Native(variables=variables, train_on=train_on, sanitize="escape")


def with_template(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> PreTrainedTokenizerFast:
    other = deepcopy(tokenizer)
    other.chat_template = chat_template
    return other
