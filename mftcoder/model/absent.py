"""Families that users of MFTCoder know, and that cannot be loaded."""

from __future__ import annotations

from mftcoder.model.causal_lm import CausalLM


class Absent(CausalLM):
    """Refuses a model whose architecture transformers does not have.

    Args:
        family: its name.
        instead: the nearest choice of the group that works.

    Raises:
        ValueError: always, with the reason.
    """

    def __init__(self, *, family: str, instead: str) -> None:
        raise ValueError(
            f"model: {family} is not an architecture of transformers 5, whose loader its own modelling code does not "
            f"run under, and its tokenizer has no fast version; take model={instead}"
        )
