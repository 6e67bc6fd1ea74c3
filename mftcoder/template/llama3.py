"""Llama 3's format: `<|start_header_id|>user<|end_header_id|>\\n\\n…<|eot_id|>`."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Role
from mftcoder.template.base import control
from mftcoder.template.framed import Frame, Framed


class Llama3(Framed):
    """As in Meta's model card of Llama 3: words are trimmed, and a tool's role is called ipython."""

    trims = True

    def beginning(self, dialogue: Dialogue, tokenizer: PreTrainedTokenizerBase) -> str:
        """The token that begins a text."""
        return control("<|begin_of_text|>", tokenizer)

    def frame(self, role: Role, tokenizer: PreTrainedTokenizerBase) -> Frame:
        """The role's name between two tokens."""
        start, end = control("<|start_header_id|>", tokenizer), control("<|end_header_id|>", tokenizer)
        name = "ipython" if role == "tool" else role
        return Frame(f"{start}{name}{end}\n\n", control("<|eot_id|>", tokenizer), "")

    def ends(self, tokenizer: PreTrainedTokenizerBase) -> frozenset[str]:
        """The token that ends every turn."""
        return frozenset([control("<|eot_id|>", tokenizer)])
