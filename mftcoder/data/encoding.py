"""Dialogues to token ids, with a mask of what is learnt that is exact to the character."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Role
from mftcoder.core.errors import UserError
from mftcoder.template.base import Segment, Template


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tokenised dialogue of n tokens.

    ids: [n] int32. supervised: [n] bool, never True for the first token, which nothing predicts.
    turn: [n] int32, the turn a token belongs to. roles: the role of each turn, for the rules of cutting.
    """

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    turn: NDArray[np.int32]
    roles: tuple[Role, ...]

    def __len__(self) -> int:
        return len(self.ids)


def encode(dialogues: Sequence[Dialogue], template: Template, tokenizer: PreTrainedTokenizerBase) -> list[Encoded]:
    """Render and tokenise, in one batch. No token is added before or after what the template renders.

    The mask follows the characters of the rendering: a token belongs to the segment of its last character.
    """
    units: list[list[Segment]] = []
    owners: list[int] = []
    for i, dialogue in enumerate(dialogues):
        for unit in split_units(template.render(dialogue, tokenizer), template):
            units.append(unit)
            owners.append(i)
    encodings = backend(tokenizer).encode_batch(
        ["".join(s.text for s in unit) for unit in units], add_special_tokens=False
    )
    parts: list[list[tuple[NDArray[np.int32], ...]]] = [[] for _ in dialogues]
    for owner, unit, encoding in zip(owners, units, encodings, strict=True):
        ids = np.array(encoding.ids, dtype=np.int32)
        spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
        ends = np.cumsum([len(segment.text) for segment in unit])
        last = np.maximum(spans[:, 0], spans[:, 1] - 1)
        which = np.searchsorted(ends, last, side="right").clip(max=len(unit) - 1)
        supervised = np.array([segment.supervised for segment in unit])[which]
        parts[owner].append((ids, supervised, np.array([segment.turn for segment in unit], dtype=np.int32)[which]))
    return [assemble(part, dialogue) for part, dialogue in zip(parts, dialogues, strict=True)]


def assemble(parts: list[tuple[NDArray[np.int32], ...]], dialogue: Dialogue) -> Encoded:
    """The units of one dialogue, end to end."""
    ids, supervised, turn = (np.concatenate(field) for field in zip(*parts, strict=True))
    supervised[:1] = False
    return Encoded(ids, supervised.astype(np.bool_), turn, tuple(t.role for t in dialogue.turns))


def split_units(segments: list[Segment], template: Template) -> list[list[Segment]]:
    """The segments in groups that are tokenised each in one go."""
    units: list[list[Segment]] = []
    for segment in segments:
        if units and (segment.joined or template.tokenization == "whole"):
            units[-1].append(segment)
        else:
            units.append([segment])
    return units


@lru_cache(maxsize=4)
def backend(tokenizer: PreTrainedTokenizerBase) -> Tokenizer:
    """The Rust tokenizer in a copy of our own that neither cuts, pads, adds tokens nor trims offsets."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(inner, Tokenizer):
        raise UserError(f"the tokenizer {type(tokenizer).__name__} is not a fast one (a tokenizer.json is needed)")
    copy = deepcopy(inner)
    copy.no_truncation()
    copy.no_padding()
    copy.post_processor = None
    return copy
