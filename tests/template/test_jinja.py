"""A template in a file."""

from __future__ import annotations

from pathlib import Path

import pytest
from marked_text import TALK, marked
from transformers import PreTrainedTokenizerFast

from mftcoder.core.errors import UserError
from mftcoder.template.jinja import Jinja


def test_a_file_that_cannot_be_read_is_named(chat_tokenizer: PreTrainedTokenizerFast, tmp_path: Path) -> None:
    template = Jinja(path=str(tmp_path / "absent.jinja"), variables={}, train_on="last", sanitize="escape")
    with pytest.raises(UserError, match=r"template.path: .*absent.jinja cannot be read"):
        marked(template, chat_tokenizer, *TALK)
