"""The original MFTCoder's rendering: `<s>human\\n…\\n<s>bot\\n…\\n</s>\\n`."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue
from mftcoder.template.base import Sanitize, Segment, Template, Tokenization, TrainOn

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
            raise ValueError(f"role_markers: {', '.join(sorted(missing))} missing; expected system, user and assistant")
        self.role_markers = role_markers

    def render(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> list[Segment]:
        """All turns; the segments that the original tokenised together are joined."""
        end = tokenizer.eos_token
        if end is None:
            raise ValueError("the tokenizer has no eos_token, with which this template ends an answer")
        trained = self.trained(dialogue)
        if dialogue.kind == "text":
            return [Segment(normal(dialogue.turns[0].content) + end, trained[0], 0)]
        markers = self.train_on == "all"
        segments: list[Segment] = []
        for i, turn in enumerate(dialogue.turns):
            answer = turn.role == "assistant"
            after_system = i > 0 and dialogue.turns[i - 1].role == "system"
            joined = answer or (dialogue.kind == "pair" and after_system)
            segments.append(Segment(self.marker(turn.role, dialogue), markers, i, joined=joined))
            words = normal(turn.content) + (end if answer else "")
            segments.append(Segment(words, trained[i], i, joined=not answer))
            if answer and dialogue.kind == "chat":
                segments.append(Segment("\n", markers, i))
        if dialogue.turns[-1].role in ("user", "tool"):
            segments.append(Segment(self.marker("assistant", dialogue), markers, len(dialogue.turns) - 1, joined=True))
        return segments

    def prompt(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The turns so far and the assistant's marker; plain text stands by itself."""
        if dialogue.kind == "text":
            return dialogue.turns[0].content.translate(SPACES)
        if dialogue.turns[-1].role == "assistant":
            raise ValueError(f"{dialogue.origin}: ends with an assistant turn; expected one of the user to be answered")
        return "".join(segment.text for segment in self.render(dialogue, tokenizer))

    def marker(self, role: str, dialogue: Dialogue) -> str:
        """What stands before a turn of `role`."""
        if role not in self.role_markers:
            raise ValueError(
                f"{dialogue.origin}: a turn of role {role}, for which this template has no marker; "
                f"give template.role_markers.{role}, or use template=native"
            )
        return self.role_markers[role]


def normal(words: str) -> str:
    """The words of a turn as the original writes them: no-break spaces plain, and a newline after them."""
    return words.translate(SPACES) + "\n"
