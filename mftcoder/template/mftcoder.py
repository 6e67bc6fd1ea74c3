"""The format of MFTCoder's user guide: `<s>user\\n…\\n<s>assistant\\n…</s>\\n`."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Role
from mftcoder.template.base import Sanitize, Tokenization, TrainOn, end_of_text
from mftcoder.template.framed import Frame, Framed
from mftcoder.template.markers import checked, marker, typed


class MFTCoder(Framed):
    """A marker before each turn; an answer ends with the end-of-sequence token, which is learnt, and a newline.

    The released models of CodeFuse were trained on another form, which is `template=codefuse`.

    Args:
        role_markers: what stands before the turns of system, user and assistant (and of tool, if there are any).
        input_end: what ends the turns that are not answers, unless they end with it already. The guide shows a newline
            there (§2.2); its f-strings (§3.1, §4.2) have none of their own, which is "".
        tokenization: see `Template`.
        train_on: see `Template`.
        sanitize: see `Template`.

    Raises:
        ValueError: a marker is missing.

    Source: the README of codefuse-ai/MFTCoder, mftcoder_accelerate, §2.2 and §3.1.
    """

    def __init__(
        self,
        *,
        role_markers: dict[str, str],
        input_end: str,
        tokenization: Tokenization,
        train_on: TrainOn,
        sanitize: Sanitize,
    ) -> None:
        super().__init__(tokenization=tokenization, train_on=train_on, sanitize=sanitize)
        self.role_markers = checked(role_markers)
        self.input_end = typed(input_end)

    def frame(self, role: Role, tokenizer: PreTrainedTokenizerBase) -> Frame:
        """The role's marker, and what ends its turns."""
        header = marker(self.role_markers, role)
        if role == "assistant":
            return Frame(header, end_of_text(tokenizer), "\n")
        return Frame(header, self.input_end, "", once=True)
