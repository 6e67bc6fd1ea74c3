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
    "{%- set end = '' if frame[3] and message.content.endswith(frame[1]) else frame[1] -%}"
    "{{- frame[0] ~ WORDS ~ end ~ frame[2] -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- frames['assistant'][0] -}}{%- endif -%}"
)


class Frame(NamedTuple):
    """What stands around the words of a turn.

    Attributes:
        header: before the words.
        end: after them, learnt with them.
        gap: after that.
        once: whether the end is left out after words that end with it already.
    """

    header: str
    end: str
    gap: str
    once: bool = False


class Framed(Template):
    """The turns one after the other, each in its frame.

    Attributes:
        trims: whether words are shown without the space around them.
    """

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
            frame, words = self.frame(turn.role, tokenizer), self.words(turn.content)
            end = "" if frame.once and words.endswith(frame.end) else frame.end
            said = Segment(words + end, trained[i], i)
            segments += [Segment(frame.header, frames, i), said, Segment(frame.gap, frames, i)]
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
    """A Jinja chat template that frames turns, and refuses roles that have no frame.

    Args:
        frames: by role.
        words: the Jinja expression for what a message says.
        opening: what stands before a first turn that is a system text.
        beginning: what stands before any other first turn.
    """
    shown = {role: tuple(frame) for role, frame in frames.items()}
    parts = {"FRAMES": repr(shown), "WORDS": words, "OPENING": repr(opening), "BEGINNING": repr(beginning)}
    return re.sub("|".join(parts), lambda match: parts[match[0]], JINJA)
