"""The original MFTCoder's rendering: `<s>human\\n…\\n<s>bot\\n…\\n</s>\\n`."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue
from mftcoder.template.base import ROLES, Sanitize, Segment, Template, Tokenization, TrainOn, end_of_text, refuse_tools
from mftcoder.template.framed import Frame, as_jinja

SPACES = str.maketrans({"\u202f": " ", "\u00a0": " "})


class MFTCoder(Template):
    """Role markers before each turn, a newline after it, and the end-of-sequence token after each answer's newline.

    role_markers: the marker of system, user and assistant (and of tool, if there are any). Narrow and ordinary
    no-break spaces become spaces. The newline after the end-of-sequence token of a `chat` is not learnt; a `pair`
    ends with the token itself. Source: codefuse-ai/MFTCoder, data/preprocess_data.py.
    """

    def __init__(
        self, *, role_markers: dict[str, str], tokenization: Tokenization, train_on: TrainOn, sanitize: Sanitize
    ) -> None:
        super().__init__(tokenization=tokenization, train_on=train_on, sanitize=sanitize)
        missing = {"system", "user", "assistant"} - set(role_markers)
        if missing:
            raise ValueError(f"role_markers: no {', '.join(sorted(missing))}; expected system, user and assistant")
        self.role_markers = role_markers

    def chat(self, dialogue: Dialogue, trained: list[bool], tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """All turns; the segments that the original tokenised together are joined."""
        refuse_tools(dialogue)
        end = end_of_text(tokenizer)
        markers = self.train_on == "all"
        segments: list[Segment] = []
        previous = ""
        for i, turn in enumerate(dialogue.turns):
            answer = turn.role == "assistant"
            joined = answer or (dialogue.kind == "pair" and previous == "system")
            segments.append(Segment(self.marker(turn.role), markers, i, joined=joined))
            words = self.document(turn.content) + (end if answer else "")
            segments.append(Segment(words, trained[i], i, joined=not answer))
            if answer and dialogue.kind == "chat":
                segments.append(Segment("\n", markers, i))
            previous = turn.role
        if previous in ("user", "tool"):
            segments.append(Segment(self.marker("assistant"), markers, len(dialogue.turns) - 1, joined=True))
        return segments

    def question(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The turns and the assistant's marker."""
        return "".join(segment.text for segment in self.render(dialogue, tokenizer))

    def jinja(self, tokenizer: PreTrainedTokenizerBase) -> str:
        """The same text; tokenization=segments makes other tokens of it here and there."""
        end = end_of_text(tokenizer)
        frames = {role: Frame(self.role_markers[role], "\n", "") for role in ROLES if role in self.role_markers}
        frames["assistant"] = Frame(self.role_markers["assistant"], "\n" + end, "\n")
        plain = "".join(f" | replace({chr(space)!r}, ' ')" for space in SPACES)
        return as_jinja(frames, words=f"(message.content{plain})")

    def document(self, words: str) -> str:
        """No-break spaces plain, and a newline at the end."""
        return (words if words.isascii() else words.translate(SPACES)) + "\n"

    def marker(self, role: str) -> str:
        """What stands before a turn of `role`."""
        if role not in self.role_markers:
            raise ValueError(
                f"a turn of role {role}, for which template.role_markers has no marker: {self.role_markers}"
            )
        return self.role_markers[role]
