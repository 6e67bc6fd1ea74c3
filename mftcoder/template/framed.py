"""Templates that frame every turn by text of their own."""

from __future__ import annotations

from abc import abstractmethod
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Role
from mftcoder.template.base import Segment, Template, refuse_tools


class Frame(NamedTuple):
    """What stands around the words of a turn: header before them; end after them, learnt with them; then gap."""

    header: str
    end: str
    gap: str


class Framed(Template):
    """The turns one after the other, each in its frame."""

    @abstractmethod
    def frame(self, role: Role, tokenizer: PreTrainedTokenizerBase) -> Frame:
        """What stands around the words of a turn of `role`."""

    def beginning(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """What stands before the first turn."""
        return ""

    def words(self, content: str) -> str:
        """The words of a turn as they are shown."""
        return content

    def chat(self, dialogue: Dialogue, trained: list[bool], tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """All turns."""
        refuse_tools(dialogue)
        frames = self.train_on == "all"
        segments = [Segment(self.beginning(dialogue, tokenizer), frames, 0)]
        for i, turn in enumerate(dialogue.turns):
            header, end, gap = self.frame(turn.role, tokenizer)
            words = Segment(self.words(turn.content) + end, trained[i], i)
            segments += [Segment(header, frames, i), words, Segment(gap, frames, i)]
        return segments

    def question(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The turns, and the header of an assistant turn."""
        said = "".join(segment.text for segment in self.render(dialogue, tokenizer))
        return said + self.frame("assistant", tokenizer).header
