"""The format of CodeFuse's released models: `<s>human\\n…\\n<s>bot\\n…\\n</s>\\n`."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue
from mftcoder.template.base import ROLES, Sanitize, Segment, Template, Tokenization, TrainOn, end_of_text, refuse_tools
from mftcoder.template.framed import Frame, as_jinja
from mftcoder.template.markers import checked, marker

SPACES = str.maketrans({"\u202f": " ", "\u00a0": " "})


class CodeFuse(Template):
    """A marker before each turn, a newline after it, and the end-of-sequence token after each answer's newline.

    Both are learnt; the newline after the end-of-sequence token of a `chat` is not, and a `pair` ends with the token
    itself. Narrow and ordinary no-break spaces become spaces.

    Args:
        role_markers: what stands before the turns of system, user and assistant (and of tool, if there are any).
        tokenization: see `Template`; segments makes the token ids of the original's code.
        train_on: see `Template`.
        sanitize: see `Template`.

    Raises:
        ValueError: a marker is missing.

    Source: codefuse-ai/MFTCoder, mftcoder_accelerate/src/data/preprocess_data.py since 2024-01-08.
    """

    def __init__(
        self, *, role_markers: dict[str, str], tokenization: Tokenization, train_on: TrainOn, sanitize: Sanitize
    ) -> None:
        super().__init__(tokenization=tokenization, train_on=train_on, sanitize=sanitize)
        self.role_markers = checked(role_markers)

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
            segments.append(Segment(marker(self.role_markers, turn.role), markers, i, joined=joined))
            words = self.document(turn.content) + (end if answer else "")
            segments.append(Segment(words, trained[i], i, joined=not answer))
            if answer and dialogue.kind == "chat":
                segments.append(Segment("\n", markers, i))
            previous = turn.role
        if previous in ("user", "tool"):
            segments.append(
                Segment(marker(self.role_markers, "assistant"), markers, len(dialogue.turns) - 1, joined=True)
            )
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
