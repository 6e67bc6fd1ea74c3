"""What happens to examples that are longer than the sequence length: cut at a turn, split, or dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.data.tokens.encoding import Encoded, encode
from mftcoder.template.base import Template

TooLong = Literal["truncate", "split", "drop"]
Fate = Literal["whole", "split", "cut", "dropped"]


def fit(
    encoded: Encoded, template: Template, tokenizer: PreTrainedTokenizerBase, *, seq_length: int, too_long: TooLong
) -> tuple[list[Encoded], Fate]:
    """Makes pieces of at most seq_length tokens.

    truncate keeps the turns up to the last assistant turn that fits whole; split makes several dialogues that each
    start with a user turn, with the system turn and the tools repeated; drop keeps nothing. An exchange that does not
    fit by itself is lost. Plain text has no turns: truncate keeps its beginning, split makes windows that overlap by
    one token, so that each token is learnt once. A piece with nothing to learn is not kept.

    Args:
        encoded: the example.
        template: renders the pieces.
        tokenizer: of the model.
        seq_length: most tokens of a piece.
        too_long: truncate, split or drop.

    Returns:
        The pieces, and what was done: whole, nothing; split, nothing was lost; cut, some turns were; dropped.
    """
    if len(encoded) <= seq_length:
        return [encoded], "whole"
    source = encoded.source
    if too_long == "drop":
        pieces, lost = list[Encoded](), True
    elif isinstance(source, Dialogue) and source.kind in ("chat", "pair"):
        cutter = Cutter(source, template, tokenizer, np.bincount(encoded.turn).tolist(), seq_length)
        pieces, lost = cutter.exchanges() if too_long == "split" else cutter.beginning()
    else:
        windows = [window(encoded, start, seq_length) for start in range(0, len(encoded) - 1, seq_length - 1)]
        pieces, lost = (windows, False) if too_long == "split" else (windows[:1], True)
    useful = [piece for piece in pieces if piece.supervised.any()]
    if not useful:
        return [], "dropped"
    return useful, "cut" if lost or len(useful) < len(pieces) else "split"


def window(encoded: Encoded, start: int, length: int) -> Encoded:
    """`length` tokens from `start` on."""
    tokens = slice(start, start + length)
    supervised = encoded.supervised[tokens].copy()
    supervised[:1] = False
    return Encoded(encoded.ids[tokens], supervised, encoded.turn[tokens], encoded.source)


@dataclass(frozen=True, slots=True)
class Cutter:
    """Makes shorter dialogues of one, each rendered as the dialogue that it is.

    Args:
        source: the dialogue.
        template: renders the pieces.
        tokenizer: of the model.
        sizes: tokens of each turn, about.
        seq_length: most tokens of a piece.
    """

    source: Dialogue
    template: Template
    tokenizer: PreTrainedTokenizerBase
    sizes: list[int]
    seq_length: int

    def beginning(self) -> tuple[list[Encoded], bool]:
        """The turns up to the last assistant turn that fits."""
        turns = self.turns()
        for stop in range(len(turns), 0, -1):
            if turns[stop - 1].role == "assistant" and sum(self.sizes[:stop]) <= self.seq_length:
                pieces = self.encode([turns[:stop]])
                if len(pieces[0]) <= self.seq_length:
                    return pieces, True
        return [], True

    def exchanges(self) -> tuple[list[Encoded], bool]:
        """Runs of exchanges (a user turn and what follows it), each after what stands before the first of them."""
        starts = [i for i, turn in enumerate(self.source.turns) if turn.role == "user"]
        alone = list(zip(starts, [*starts[1:], len(self.source.turns)], strict=True))
        room = self.seq_length - sum(self.sizes[: starts[0]])
        runs: list[list[tuple[int, int]]] = []
        for start, stop in alone:
            if runs and sum(self.sizes[runs[-1][0][0] : stop]) <= room:
                runs[-1].append((start, stop))
            else:
                runs.append([(start, stop)])
        pieces, lost = [], False
        for run, piece in zip(runs, self.pieces([(run[0][0], run[-1][1]) for run in runs]), strict=True):
            candidates = [piece] if len(piece) <= self.seq_length else self.pieces(run)
            fitting = [candidate for candidate in candidates if len(candidate) <= self.seq_length]
            pieces += fitting
            lost |= len(fitting) < len(candidates)
        return pieces, lost

    def pieces(self, ranges: list[tuple[int, int]]) -> list[Encoded]:
        """The dialogues of some ranges of turns, each after what stands before the first user turn."""
        turns = self.turns()
        head = turns[: next(i for i, turn in enumerate(turns) if turn.role == "user")]
        return self.encode([head + turns[start:stop] for start, stop in ranges])

    def turns(self) -> list[Turn]:
        """The turns with what is learnt of them fixed: the last answer of a piece need not be that of the dialogue."""
        trained = self.template.trained(self.source)
        return [replace(turn, train=train) for turn, train in zip(self.source.turns, trained, strict=True)]

    def encode(self, dialogues: Sequence[list[Turn]]) -> list[Encoded]:
        """The dialogues of these turns as tokens."""
        return encode([replace(self.source, turns=tuple(t)) for t in dialogues], self.template, self.tokenizer)
