"""A chat template of the user's own, in a file."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue
from mftcoder.core.errors import UserError
from mftcoder.template.base import Sanitize, TrainOn
from mftcoder.template.rendered import Rendered


class Jinja(Rendered):
    """A chat template in a file.

    Args:
        path: the file, in the language of `tokenizer.chat_template`.
        variables: what else the template is given.
        train_on: see `Template`.
        sanitize: see `Template`.
    """

    def __init__(self, *, path: str, variables: dict[str, Any], train_on: TrainOn, sanitize: Sanitize) -> None:
        super().__init__(variables=variables, train_on=train_on, sanitize=sanitize)
        self.path = path

    def source(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """What the file says."""
        return text_of(self.path)


@lru_cache
def text_of(path: str) -> str:
    """The text of a file."""
    try:
        return Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"template.path: {path} cannot be read: {error}") from error
