"""The chat template that comes with the model's tokenizer."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue
from mftcoder.core.errors import UserError
from mftcoder.template.rendered import Rendered


class Native(Rendered):
    """Renders as `tokenizer.apply_chat_template` does."""

    def source(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The tokenizer's Jinja text; some have one of their own for dialogues with tools."""
        try:
            return str(tokenizer.get_chat_template(tools=list(dialogue.tools) or None))
        except ValueError as error:
            raise UserError(
                f"template=native: the tokenizer has no chat template; choose another, as template=chatml ({error})"
            ) from error

    def jinja(self, tokenizer: PreTrainedTokenizerBase) -> str | None:
        """The tokenizer's own, unless variables change it."""
        return super().jinja(tokenizer) if self.variables else None
