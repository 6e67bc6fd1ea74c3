"""One dialogue with unusual characters, the template that tests of tokens render it by, and its encoding."""

from __future__ import annotations

from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.data.tokens.encoding import Encoded, encode
from mftcoder.template.codefuse import CodeFuse

MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}
TURNS = (
    Turn("system", "Sei nett."),
    Turn("user", "排序\u00a0😀"),
    Turn("assistant", "好的 ✓"),
    Turn("user", "ok?"),
    Turn("assistant", "ja\n"),
)


def template(tokenization: str = "whole", train_on: object = "assistant", sanitize: str = "escape") -> CodeFuse:
    return CodeFuse(role_markers=MARKERS, tokenization=tokenization, train_on=train_on, sanitize=sanitize)


def one(turns: tuple[Turn, ...], tokenizer: PreTrainedTokenizerFast, template: CodeFuse, kind: str = "chat") -> Encoded:
    return encode([Dialogue(turns, "x:1", kind=kind)], template, tokenizer)[0]
