"""What templates render, what of it is learnt under each `train_on`, and what they refuse."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import UserError
from mftcoder.template.alpaca import Alpaca
from mftcoder.template.base import Template
from mftcoder.template.chatml import ChatML
from mftcoder.template.llama3 import Llama3
from mftcoder.template.mftcoder import MFTCoder
from mftcoder.template.native import Native

S, U, A, T = "system", "user", "assistant", "tool"
TALK = (Turn(S, "s"), Turn(U, "q1"), Turn(A, "a1"), Turn(U, "q2"), Turn(A, "a2"))
MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}


def marked(template: Template, tokenizer: PreTrainedTokenizerFast, *turns: Turn, **more: Any) -> str:
    """The rendering, with ⟦ and ⟧ around what is learnt."""
    pieces = template.render(Dialogue(turns, "a:1", **more), tokenizer)
    return "".join(f"⟦{p.text}⟧" if p.supervised and p.text else p.text for p in pieces).replace("⟧⟦", "")


def mftcoder(train_on: Any = "assistant", **markers: str) -> MFTCoder:
    return MFTCoder(role_markers=MARKERS | markers, tokenization="whole", train_on=train_on, sanitize="escape")


def chatml(train_on: Any = "assistant") -> ChatML:
    return ChatML(tokenization="whole", train_on=train_on, sanitize="escape")


def native(train_on: Any = "assistant", **variables: Any) -> Native:
    return Native(variables=variables, train_on=train_on, sanitize="escape")


LAST = "<s>system\ns\n<s>human\nq1\n<s>bot\na1\n</s>\n<s>human\nq2\n<s>bot\n⟦a2\n</s>⟧\n"
QUESTIONS = "<s>system\ns\n<s>human\n⟦q1\n⟧<s>bot\na1\n</s>\n<s>human\n⟦q2\n⟧<s>bot\na2\n</s>\n"
CHATML_QUESTIONS = (
    "<|im_start|>system\n⟦s<|im_end|>⟧\n<|im_start|>user\n⟦q1<|im_end|>⟧\n<|im_start|>assistant\na1<|im_end|>\n"
    "<|im_start|>user\n⟦q2<|im_end|>⟧\n<|im_start|>assistant\na2<|im_end|>\n"
)


@pytest.mark.parametrize("make", [mftcoder, chatml, native])
@pytest.mark.parametrize("train_on", ["assistant", "last", "all", ["user"], ["system", "user"]])
def test_train_on(chat_tokenizer: PreTrainedTokenizerFast, make: Any, train_on: Any) -> None:
    shown = marked(make(train_on), chat_tokenizer, *TALK)
    plain = shown.replace("⟦", "").replace("⟧", "")
    if train_on == "all":
        assert shown == f"⟦{plain}⟧"
    elif make is mftcoder:
        learnt = {"assistant": "⟦a1\n</s>⟧ ⟦a2\n</s>⟧", "last": "⟦a2\n</s>⟧", "['user']": "⟦q1\n⟧ ⟦q2\n⟧"}
        assert shown.count("⟦") == learnt.get(str(train_on), "⟦s\n⟧ ⟦q1\n⟧ ⟦q2\n⟧").count("⟦")
        assert all(stretch in shown for stretch in learnt.get(str(train_on), "⟦s\n⟧ ⟦q1\n⟧ ⟦q2\n⟧").split(" "))
    else:
        words = {"assistant": ["a1", "a2"], "last": ["a2"], "['user']": ["q1", "q2"]}.get(
            str(train_on), ["s", "q1", "q2"]
        )
        expected = plain
        for word in words:
            expected = expected.replace(f"\n{word}<|im_end|>", f"\n⟦{word}<|im_end|>⟧")
        assert shown == expected


def test_a_turn_says_itself_whether_it_is_learnt(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(U, "q1", train=True), Turn(A, "a1", train=False), Turn(U, "q2"), Turn(A, "a2"))
    for make in (chatml, native):
        assert marked(make("assistant"), chat_tokenizer, *turns) == (
            "<|im_start|>user\n⟦q1<|im_end|>⟧\n<|im_start|>assistant\na1<|im_end|>\n"
            "<|im_start|>user\nq2<|im_end|>\n<|im_start|>assistant\n⟦a2<|im_end|>⟧\n"
        )


def test_a_question_left_open_ends_with_the_assistants_marker(tokenizer: PreTrainedTokenizerFast) -> None:
    assert marked(mftcoder(), tokenizer, Turn(U, "q\u202fr")) == "<s>human\nq r\n<s>bot\n"


def test_the_tools_of_mftcoder_need_a_marker(tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(U, "q"), Turn(A, "call"), Turn(T, "2"), Turn(A, "2!"))
    with pytest.raises(ValueError, match=r"a turn of role tool, for which template\.role_markers has no marker"):
        marked(mftcoder(), tokenizer, *turns)
    assert marked(mftcoder(tool="<s>tool\n"), tokenizer, *turns) == (
        "<s>human\nq\n<s>bot\n⟦call\n</s>⟧\n<s>tool\n2\n<s>bot\n⟦2!\n</s>⟧\n"
    )


def test_the_markers_of_all_three_roles_are_needed() -> None:
    with pytest.raises(ValueError, match="role_markers: no assistant, user; expected system, user and assistant"):
        MFTCoder(role_markers={"system": ""}, tokenization="whole", train_on="assistant", sanitize="keep")


@pytest.mark.parametrize("make", [mftcoder, chatml, native])
def test_the_prompt_is_what_stands_before_the_answer(chat_tokenizer: PreTrainedTokenizerFast, make: Any) -> None:
    template = make()
    whole = "".join(piece.text for piece in template.render(Dialogue(TALK, "a:1"), chat_tokenizer))
    prompt = template.prompt(Dialogue(TALK[:-1], "a:1"), chat_tokenizer)
    assert whole.startswith(prompt + "a2")
    assert template.prompt(Dialogue((Turn(A, "x\u00a0y"),), "a:1", kind="text"), chat_tokenizer).startswith("x")
    with pytest.raises(ValueError, match="ends with an assistant turn"):
        template.prompt(Dialogue(TALK, "a:1"), chat_tokenizer)


def test_what_ends_an_answer(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    llama3 = Llama3(tokenization="whole", train_on="last", sanitize="keep")
    assert mftcoder().ends(chat_tokenizer) == {"</s>"}
    assert chatml().ends(chat_tokenizer) == native().ends(chat_tokenizer) == {"<|im_end|>"}
    assert llama3.ends(chat_tokenizer) == {"<|eot_id|>"}


def test_a_tokenizer_without_the_templates_tokens_is_refused(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(UserError, match=r"has no control token <\|im_start\|>.*\(it has </s>, <pad>, <s>\)"):
        marked(chatml(), tokenizer, *TALK)
    nameless = PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer)
    with pytest.raises(UserError, match="no eos_token"):
        marked(mftcoder(), nameless, *TALK)


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
    for template in (mftcoder(), chatml(), alpaca):
        with pytest.raises(ValueError, match="cannot show; use template=native"):
            marked(template, chat_tokenizer, Turn(U, "q"), turn, **more)


def test_alpaca_has_no_tools(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    alpaca = Alpaca(preamble="p", tokenization="whole", train_on="last", sanitize="keep")
    with pytest.raises(ValueError, match="a turn of role tool"):
        marked(alpaca, chat_tokenizer, Turn(U, "q"), Turn(A, "a"), Turn(T, "t"))


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


def with_template(tokenizer: PreTrainedTokenizerFast, chat_template: str) -> PreTrainedTokenizerFast:
    other = deepcopy(tokenizer)
    other.chat_template = chat_template
    return other


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


def test_variables_reach_the_template(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer = with_template(chat_tokenizer, THINKING)
    prompt = native(enable_thinking=False).prompt(Dialogue((Turn(U, "q"),), "a:1"), tokenizer)
    assert prompt.endswith("<|im_start|>assistant\n<think>\n\n</think>\n\n")


def test_a_private_character_in_a_question_is_refused(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ValueError, match="holds a private character"):
        marked(native(), chat_tokenizer, Turn(U, "\U0010f000"), Turn(A, "a"))


def test_space_around_words_stays_where_the_template_leaves_it(chat_tokenizer: PreTrainedTokenizerFast) -> None:
    turns = (Turn(U, " q \n"), Turn(A, "\n a "))
    assert marked(native(["user", "assistant"]), chat_tokenizer, *turns) == (
        "<|im_start|>user\n⟦q<|im_end|>⟧\n<|im_start|>assistant\n⟦a<|im_end|>⟧\n"
    )


def test_a_file_that_cannot_be_read_is_named(chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    from mftcoder.template.jinja import Jinja

    template = Jinja(path=str(tmp_path / "absent.jinja"), variables={}, train_on="last", sanitize="escape")
    with pytest.raises(UserError, match=r"template.path: .*absent.jinja cannot be read"):
        marked(template, chat_tokenizer, *TALK)
