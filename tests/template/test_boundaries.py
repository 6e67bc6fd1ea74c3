"""Where answers and questions are found in the text of an unknown template, and where they cannot be."""

from __future__ import annotations

from typing import Any

import pytest
from marked_text import TALK, A, T, U, marked, native, with_template
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Turn
from mftcoder.core.errors import UserError

# a template like Qwen 3's: thoughts are shown after the last question only, and tools answer in the user's name
THINKING = """\
{%- if tools %}{{ '<|im_start|>system\\n' + tools | tojson + '<|im_end|>\\n' }}{% endif %}
{%- set ns = namespace(last=-1) -%}
{%- for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor -%}
{%- for m in messages -%}
{%- if m.role == 'assistant' -%}
{{ '<|im_start|>assistant\\n' }}
{%- if loop.index0 > ns.last %}{{ '<think>\\n' + (m.reasoning_content or '') + '\\n</think>\\n\\n' }}{% endif -%}
{{ m.content.split('</think>')[-1] }}
{%- for call in m.tool_calls or [] %}{{ '<tool_call>' + call.function | tojson + '</tool_call>' }}{% endfor -%}
{{ '<|im_end|>\\n' }}
{%- elif m.role == 'tool' -%}
{{ '<|im_start|>user\\n<tool_response>' + m.content + '</tool_response><|im_end|>\\n' }}
{%- else -%}
{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>\\n' }}
{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif -%}
{%- if add_generation_prompt and enable_thinking is false %}{{ '<think>\\n\\n</think>\\n\\n' }}{% endif -%}"""


def test_thoughts_are_learnt_where_the_model_will_have_to_write_them(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (
        Turn(U, "q1"),
        Turn(A, "<think>x</think>a1"),
        Turn(U, "q2"),
        Turn(A, "a2", extra={"reasoning_content": "r"}),
    )
    assert marked(native(), with_template(chat_tokenizer, THINKING), *turns) == (
        "<|im_start|>user\nq1<|im_end|>\n<|im_start|>assistant\n⟦a1<|im_end|>⟧\n"
        "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n⟦<think>\nr\n</think>\n\na2<|im_end|>⟧\n"
    )


def test_tool_calls_are_learnt_and_what_tools_answer_is_not(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    call = {"type": "function", "function": {"name": "add", "arguments": {"a": 1}}}
    turns = (Turn(U, "q"), Turn(A, "", tool_calls=(call,)), Turn(T, "2"), Turn(T, "3"), Turn(A, "2!"))
    assert marked(native(), with_template(chat_tokenizer, THINKING), *turns, tools=({"name": "add"},)) == (
        '<|im_start|>system\n[{"name": "add"}]<|im_end|>\n<|im_start|>user\nq<|im_end|>\n<|im_start|>assistant\n'
        '⟦<think>\n\n</think>\n\n<tool_call>{"name": "add", "arguments": {"a": 1}}</tool_call><|im_end|>⟧\n'
        "<|im_start|>user\n<tool_response>2</tool_response><|im_end|>\n"
        "<|im_start|>user\n<tool_response>3</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n⟦<think>\n\n</think>\n\n2!<|im_end|>⟧\n"
    )


def test_generation_tags_decide_where_there_are_any(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    tagged = (
        "{% for m in messages %}{% if m.role == 'assistant' %}A:{% generation %} {{ m.content }}{% endgeneration %}</s>"
        "{% else %}Q: {{ m.content }}{% endif %}{% endfor %}"
    )
    shown = marked(
        native(), with_template(chat_tokenizer, tagged), Turn(U, "q"), Turn(A, "a"), Turn(U, "r"), Turn(A, "b")
    )
    assert shown == "Q: qA:⟦ a⟧</s>Q: rA:⟦ b⟧</s>"


TURNS = "{% for m in messages %}{{ '<|im_start|>' + m.role + '\\n' + m.content + '<|im_end|>' }}{% endfor %}"
ASKS = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
REFUSED = {
    "asks otherwise": (
        TURNS + ASKS.replace("assistant\n", "assistant<think>"),
        "which stands 0 times in the dialogue, for 2",
    ),
    "asks by words": (
        "{% for m in messages %}{{ '1' if m.role == 'assistant' }}{{ m.content }}</s>{% endfor %}"
        "{% if add_generation_prompt %}1{% endif %}",
        "which stands 4 times in the dialogue, for 2 answers",
    ),
    "drops the system": (TURNS.replace("messages", "messages[1:]") + ASKS, "shows 2 of 3 questions whole"),
    "hangs on words": (TURNS.replace("m.content", "m.content[:2]") + ASKS, "shows 0 of 3 questions whole"),
    "changes the past": ("{{ messages | length }}" + TURNS, "shows the turns before turn 3 otherwise once it is there"),
    "refuses": (
        "{{ raise_exception('no dialogues') if messages | length > 3 }}" + TURNS + ASKS,
        "refuses this dialogue: no dialogues",
    ),
    "marks too little": (
        "{% for m in messages %}{% if loop.last %}{% generation %}{{ m.content }}{% endgeneration %}"
        "{% else %}{{ m.content }}{% endif %}{% endfor %}",
        "marks 1 stretches with {% generation %}, for 2 answers",
    ),
}


@pytest.mark.parametrize("why", REFUSED)
def test_what_cannot_be_told_is_refused_with_the_reason(chat_tokenizer: PreTrainedTokenizerFast, why: str) -> None:
    source, reason = REFUSED[why]
    with pytest.raises(ValueError, match=r".") as error:
        marked(native(), with_template(chat_tokenizer, source), *TALK)
    assert reason in str(error.value)
    assert not isinstance(error.value, UserError)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("{% for m in messages %}{{ m.content }}{% endfor %}", "ends answers with no control token"),
        ("{% for m in messages %}", "is not valid Jinja"),
        (None, "the tokenizer has no chat template"),
    ],
)
def test_a_template_that_can_never_do_stops_the_run(
    chat_tokenizer: PreTrainedTokenizerFast, source: Any, reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        marked(native(), with_template(chat_tokenizer, source), *TALK)


def test_a_private_character_in_a_question_is_refused(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="holds a private character"):
        marked(native(), chat_tokenizer, Turn(U, "\U0010f000"), Turn(A, "a"))


def test_space_around_words_stays_where_the_template_leaves_it(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(U, " q \n"), Turn(A, "\n a "))
    assert marked(native(["user", "assistant"]), chat_tokenizer, *turns) == (
        "<|im_start|>user\n⟦q<|im_end|>⟧\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n"
    )
