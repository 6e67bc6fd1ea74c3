"""The format of the user guide, held against the guide's own text."""

from __future__ import annotations

from typing import Any

import pytest
from marked_text import A, S, T, U, marked
from small_models import preset
from transformers import PreTrainedTokenizerFast

from mftcoder.cli import config
from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.template.base import Template

# §2.2 of the guide, word for word, up to the second round.
GUIDE = """
<s>system
System instruction
<s>user
User 1st round input
<s>assistant
Assistant 1st round output{EOS_TOKEN}
<s>user
User 2nd round input
<s>assistant
Assistant 2nd round output{EOS_TOKEN}
"""
ROUNDS = (
    Turn(S, "System instruction"),
    Turn(U, "User 1st round input"),
    Turn(A, "Assistant 1st round output"),
    Turn(U, "User 2nd round input"),
    Turn(A, "Assistant 2nd round output"),
)


def mftcoder(**changes: Any) -> Template:
    return preset("template/mftcoder", **changes)


def text(template: Template, tokenizer: PreTrainedTokenizerFast, *turns: Turn, **more: Any) -> str:
    return "".join(segment.text for segment in template.render(Dialogue(turns, "a:1", **more), tokenizer))


def test_a_dialogue_is_the_string_of_the_guide(tokenizer: PreTrainedTokenizerFast) -> None:
    assert text(mftcoder(), tokenizer, *ROUNDS) == GUIDE.removeprefix("\n").replace("{EOS_TOKEN}", "</s>")


@pytest.mark.parametrize(("line_end", "changes"), [("\n", {}), ("", {"input_end": ""})])
def test_it_is_the_f_string_of_the_guide_too(
    tokenizer: PreTrainedTokenizerFast, line_end: str, changes: dict[str, str]
) -> None:
    """§3.1 leaves it to its inputs whether a line ends before the assistant's marker."""
    input1, target1, input2, target2 = f"add 1{line_end}", "x + 1", f"and 2{line_end}", "x + 2"
    EOS_TOKEN = "</s>"  # noqa: N806 - as the guide writes it
    expected = (
        f"<s>user\n{input1}<s>assistant\n{target1}{EOS_TOKEN}\n<s>user\n{input2}<s>assistant\n{target2}{EOS_TOKEN}\n"
    )
    turns = (Turn(U, input1), Turn(A, target1), Turn(U, input2), Turn(A, target2))
    assert text(mftcoder(**changes), tokenizer, *turns) == expected


def test_an_answer_and_its_end_are_learnt_and_nothing_else(tokenizer: PreTrainedTokenizerFast) -> None:
    shown = marked(mftcoder(), tokenizer, Turn(U, "q"), Turn(A, "a"))
    assert shown == "<s>user\nq\n<s>assistant\n⟦a</s>⟧\n"
    assert marked(mftcoder(), tokenizer, Turn(U, "q"), Turn(A, "a"), kind="pair") == shown


def test_a_prompt_ends_with_the_assistants_marker(tokenizer: PreTrainedTokenizerFast) -> None:
    demo = Dialogue((Turn(U, "write a python function of quick sort."),), "a:1")
    assert mftcoder(input_end="").prompt(demo, tokenizer) == (
        "<s>user\nwrite a python function of quick sort.<s>assistant\n"  # §4.2
    )
    assert mftcoder().prompt(demo, tokenizer).endswith("sort.\n<s>assistant\n")


def test_tools_need_a_marker(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match=r"role tool, for which template.role_markers has no marker: .'system'"):
        text(mftcoder(), tokenizer, Turn(U, "q"), Turn(A, "call"), Turn(T, "2"), Turn(A, "2!"))


def test_a_line_end_in_the_quotes_of_a_command_line_is_one(tokenizer: PreTrainedTokenizerFast) -> None:
    typed = r'template.role_markers={system: "S:\n", user: "U:\n", assistant: "A:\n"}'
    template = config.build(config.load(typed)["template"])
    assert text(template, tokenizer, Turn(U, "q"), Turn(A, "a")) == "U:\nq\nA:\na</s>\n"
