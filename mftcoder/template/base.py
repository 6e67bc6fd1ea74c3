"""The contract of all templates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue

Tokenization = Literal["whole", "segments"]


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of rendered text, all of it in the loss or all of it not. turn: the turn it belongs to."""

    text: str
    supervised: bool
    turn: int


class Template(ABC):
    """Renders a dialogue into the text that the model sees, together with what of it is to be learnt.

    tokenization: whole, the rendered text is tokenised in one go and the mask follows its characters;
    segments, each segment by itself, as the original MFTCoder did (needed for its released models).
    """

    tokenization: Tokenization

    @abstractmethod
    def render(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """All turns. Raises ValueError, naming dialogue.origin, where the turns break the template's rules."""

    @abstractmethod
    def prompt(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The text that asks for the next assistant turn."""
