"""The contract of all templates."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Literal

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Role

Tokenization = Literal["whole", "segments"]
Sanitize = Literal["escape", "error", "keep"]
TrainOn = Literal["assistant", "last", "all"] | list[Role]

ROLES: tuple[Role, ...] = ("system", "user", "assistant", "tool")


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of rendered text, all of it in the loss or all of it not.

    turn: the turn it belongs to. joined: with tokenization=segments, tokenised together with the segment before it.
    """

    text: str
    supervised: bool
    turn: int
    joined: bool = False


class Template(ABC):
    """Renders a dialogue into the text that the model sees, together with what of it is to be learnt.

    tokenization: whole, the rendered text is tokenised in one go and the mask follows its characters;
    segments, each segment by itself, as the original MFTCoder did (needed for its released models).
    train_on: assistant, every assistant turn with the token that ends it; last, only the last of them; all, every
    token; or a list of roles. A turn's own `train` comes first.
    sanitize: what becomes of control tokens that stand in the words of a turn: escape, they are tokenised as plain
    text, so that nobody can forge a turn; error, the record is refused; keep, they become control tokens.
    """

    def __init__(self, *, tokenization: Tokenization, train_on: TrainOn, sanitize: Sanitize) -> None:
        self.tokenization = tokenization
        self.train_on = train_on
        self.sanitize = sanitize

    def trained(self, dialogue: Dialogue) -> list[bool]:
        """Whether the words of each turn are in the loss."""
        turns = dialogue.turns
        if self.train_on == "last":
            last = max((i for i, turn in enumerate(turns) if turn.role == "assistant"), default=-1)
            wanted = [i == last for i in range(len(turns))]
        else:
            roles = {"assistant": ("assistant",), "all": ROLES}.get(str(self.train_on), self.train_on)
            wanted = [turn.role in roles for turn in turns]
        return [want if turn.train is None else turn.train for turn, want in zip(turns, wanted, strict=True)]

    @abstractmethod
    def render(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """All turns. Raises ValueError, naming dialogue.origin, where the turns break the template's rules."""

    @abstractmethod
    def prompt(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The text that asks for the next assistant turn."""
