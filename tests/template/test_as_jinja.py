"""What `Template.jinja` gives: a chat template by which transformers renders just what was trained on."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import jinja2
import pytest
from small_models import preset

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.template.base import Template

TALKS = {
    "one question": [("user", "2 + 2?")],
    "several turns": [
        ("user", "你好 🙂\n"),
        ("assistant", " a\u00a0b\u202fc "),
        ("user", "'\"\\n{{ x }}"),
        ("assistant", "}"),
    ],
    "system": [("system", "Be {{brief}}.\n\n"), ("user", "x"), ("assistant", "y"), ("user", "\tz\n")],
}
TEMPLATES = ["mftcoder", "codefuse", "chatml", "llama3", "alpaca"]


def dialogue(talk: list[tuple[Any, str]]) -> Dialogue:
    return Dialogue(turns=tuple(Turn(role, words) for role, words in talk), origin="x:1")


def by_transformers(template: Template, tokenizer: Any, talk: list[tuple[str, str]], **how: Any) -> str:
    tokenizer = deepcopy(tokenizer)
    tokenizer.chat_template = template.jinja(tokenizer) or tokenizer.chat_template
    messages = [{"role": role, "content": words} for role, words in talk]
    return str(tokenizer.apply_chat_template(messages, tokenize=False, **how))


@pytest.mark.parametrize("name", TEMPLATES)
@pytest.mark.parametrize("talk", TALKS.values(), ids=TALKS.keys())
def test_text_and_question_are_ours(name: str, talk: list[tuple[str, str]], chat_tokenizer: Any) -> None:
    template = preset(f"template/{name}")
    asked = talk if talk[-1][0] == "user" else talk[:-1]
    question = template.prompt(dialogue(asked), chat_tokenizer)
    assert by_transformers(template, chat_tokenizer, asked, add_generation_prompt=True) == question
    if talk[-1][0] == "assistant":
        text = "".join(segment.text for segment in template.render(dialogue(talk), chat_tokenizer))
        assert by_transformers(template, chat_tokenizer, talk) == text


@pytest.mark.parametrize("name", ["mftcoder", "codefuse", "alpaca"])
def test_a_role_that_is_not_shown_is_refused(name: str, chat_tokenizer: Any) -> None:
    with pytest.raises(jinja2.TemplateError, match="no turn of role tool"):
        by_transformers(preset(f"template/{name}"), chat_tokenizer, [("tool", "x")])


def test_markers_of_ones_own(chat_tokenizer: Any) -> None:
    markers = {"system": "S'", "user": 'U"\n', "assistant": "A\\", "tool": "T"}
    text = by_transformers(
        preset("template/mftcoder", role_markers=markers), chat_tokenizer, [("user", "x"), ("tool", "y")]
    )
    assert text == 'U"\nx\nTy\n'


def test_the_tokenizers_own_stays_but_for_variables(chat_tokenizer: Any) -> None:
    assert preset("template/native").jinja(chat_tokenizer) is None
    tokenizer = deepcopy(chat_tokenizer)
    tokenizer.chat_template = "\n{{ messages[0].content }}{{ '!' if loud }}{{ name }}"
    template = preset("template/native", variables={"loud": True, "name": "it's"})
    talk: list[tuple[str, str]] = [("user", "x")]
    assert template.prompt(dialogue(talk), tokenizer) == "\nx!it's"
    assert by_transformers(template, tokenizer, talk) == "\nx!it's"
    assert by_transformers(template, tokenizer, talk, loud=False) == "\nxit's"


def test_a_file_of_the_users(tmp_path: Any, chat_tokenizer: Any) -> None:
    (tmp_path / "my.jinja").write_text("{% for m in messages %}[{{ m.role }}]{{ m.content }}{% endfor %}")
    template = preset("template/jinja", path=str(tmp_path / "my.jinja"))
    assert by_transformers(template, chat_tokenizer, [("user", "x")]) == "[user]x"
