"""Templates that frame every turn by text of their own."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Role, Turn
from mftcoder.template.base import ROLES, Segment, Template, refuse_tools

JINJA = (
    "{%- set frames = FRAMES -%}"
    "{{- OPENING if messages[0].role == 'system' else BEGINNING -}}"
    "{%- for message in messages -%}"
    "{%- if message.role not in frames -%}"
    "{{- raise_exception('this template shows no turn of role ' ~ message.role) -}}"
    "{%- endif -%}"
    "{%- set frame = frames[message.role] -%}"
    "{{- frame[0] ~ WORDS ~ frame[1] ~ frame[2] -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- frames['assistant'][0] -}}{%- endif -%}"
)


class Frame(NamedTuple):
    """What stands around the words of a turn: header before them; end after them, learnt with them; then gap."""

    header: str
    end: str
    gap: str


class Framed(Template):
    """The turns one after the other, each in its frame. trims: whether words are shown without space around."""

    trims = False

    @abstractmethod
    def frame(self, role: Role, tokenizer: PreTrainedTokenizerBase) -> Frame:
        """What stands around the words of a turn of `role`."""

    def beginning(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """What stands before the first turn."""
        return ""

    def words(self, content: str) -> str:
        """The words of a turn as they are shown."""
        return content.strip() if self.trims else content

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

    def jinja(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The frames of all roles that it shows, around the words."""
        frames = {}
        for role in ROLES:
            with suppress(ValueError):
                frames[role] = self.frame(role, tokenizer)
        first = (Dialogue(turns=(Turn(role, ""),), origin="") for role in ("system", "user"))
        opening, beginning = (self.beginning(dialogue, tokenizer) for dialogue in first)
        words = "(message.content | trim)" if self.trims else "message.content"
        return as_jinja(frames, words=words, opening=opening, beginning=beginning)

    def question(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The turns, and the header of an assistant turn."""
        said = "".join(segment.text for segment in self.render(dialogue, tokenizer))
        return said + self.frame("assistant", tokenizer).header


def as_jinja(frames: Mapping[Role, Frame], *, words: str, opening: str = "", beginning: str = "") -> str:
    """A chat template that frames turns, and refuses roles that have no frame.

    words: the Jinja expression for what a message says. opening, beginning: what stands before the first turn if that
    is a system text, and if it is not.
    """
    shown = {role: tuple(frame) for role, frame in frames.items()}
    parts = {"FRAMES": repr(shown), "WORDS": words, "OPENING": repr(opening), "BEGINNING": repr(beginning)}
    return re.sub("|".join(parts), lambda match: parts[match[0]], JINJA)
