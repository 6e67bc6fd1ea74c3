"""The original's rendering, beyond the golden files."""

from __future__ import annotations

import pytest
from marked_text import A, T, U, codefuse, marked
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Turn
from mftcoder.template.codefuse import CodeFuse


def test_a_question_left_open_ends_with_the_assistants_marker(tokenizer: PreTrainedTokenizerFast) -> None:
    assert marked(codefuse(), tokenizer, Turn(U, "q\u202fr")) == "<s>human\nq r\n<s>bot\n"


def test_the_tools_of_codefuse_need_a_marker(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(U, "q"), Turn(A, "call"), Turn(T, "2"), Turn(A, "2!"))
    with pytest.raises(ValueError, match=r"a turn of role tool, for which template\.role_markers has no marker"):
        marked(codefuse(), tokenizer, *turns)
    assert marked(codefuse(tool="<s>tool\n"), tokenizer, *turns) == (
        "<s>human\nq\n<s>bot\n⟦call\n</s>⟧\n<s>tool\n2\n<s>bot\n⟦2!\n</s>⟧\n"
    )


def test_the_markers_of_all_three_roles_are_needed() -> None:
    with pytest.raises(ValueError, match=r"role_markers: no user, assistant in .*; expected system, user, assistant"):
        CodeFuse(role_markers={"system": ""}, tokenization="whole", train_on="assistant", sanitize="keep")


def test_answers_end_with_the_tokenizers_own_token(tokenizer: PreTrainedTokenizerFast) -> None:
    assert codefuse().ends(tokenizer) == {"</s>"}
