"""Stanford Alpaca's format: `### Instruction:\\n…\\n\\n### Response:\\n…`."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Role
from mftcoder.template.base import Sanitize, Tokenization, TrainOn, end_of_text
from mftcoder.template.framed import Frame, Framed


class Alpaca(Framed):
    """Plain-text headings; an answer ends with the end-of-sequence token.

    Args:
        preamble: what stands first, unless the dialogue has a system text of its own.
        tokenization: see `Template`.
        train_on: see `Template`.
        sanitize: see `Template`.
    """

    def __init__(self, *, preamble: str, tokenization: Tokenization, train_on: TrainOn, sanitize: Sanitize) -> None:
        super().__init__(tokenization=tokenization, train_on=train_on, sanitize=sanitize)
        self.preamble = preamble

    def beginning(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The preamble, or nothing before a system text."""
        return "" if dialogue.turns[0].role == "system" else self.preamble + "\n\n"

    def frame(self, role: Role, tokenizer: PreTrainedTokenizerBase) -> Frame:
        """A heading for the user and the assistant."""
        if role == "tool":
            raise ValueError(f"a turn of role {role}, which this template cannot show; use template=native or hermes")
        if role == "assistant":
            return Frame("### Response:\n", end_of_text(tokenizer), "\n\n")
        return Frame("### Instruction:\n" if role == "user" else "", "", "\n\n")
