"""OpenAI's ChatML: `<|im_start|>user\\n…<|im_end|>\\n`."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Role
from mftcoder.template.base import control
from mftcoder.template.framed import Frame, Framed


class ChatML(Framed):
    """The tokenizer must know <|im_start|> and <|im_end|>, as those of Qwen and SmolLM2 do."""

    def frame(self, role: Role, tokenizer: PreTrainedTokenizerBase) -> Frame:
        """The role's name in the header."""
        return Frame(f"{control('<|im_start|>', tokenizer)}{role}\n", control("<|im_end|>", tokenizer), "\n")

    def ends(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
        """The token that ends every turn."""
        return frozenset([control("<|im_end|>", tokenizer)])
