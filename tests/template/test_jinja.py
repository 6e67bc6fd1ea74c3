"""A template in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from marked_text import TALK, marked
from small_models import preset
from transformers import PreTrainedTokenizerFast

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import UserError
from mftcoder.template.jinja import Jinja


def test_a_file_that_cannot_be_read_is_named(chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    template = Jinja(path=str(tmp_path / "absent.jinja"), variables={}, train_on="last", sanitize="escape")
    with pytest.raises(UserError, match=r"template.path: .*absent.jinja cannot be read"):
        marked(template, chat_tokenizer, *TALK)


@pytest.mark.parametrize(
    "text",
    [
        "{% for i in range(10 ** 9) %}x{% endfor %}",
        "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}",
        "{{ 1 // 0 }}",
    ],
)
def test_a_template_that_takes_too_much_is_refused(
    tmp_path: Path, chat_tokenizer: PreTrainedTokenizerFast, text: str
) -> None:
    (tmp_path / "big.jinja").write_text(text)
    template = preset("template/jinja", path=str(tmp_path / "big.jinja"))
    with pytest.raises(ValueError, match=r"the chat template takes too much|refuses this dialogue"):
        template.prompt(Dialogue((Turn("user", "x"),), "a:1"), chat_tokenizer)
