"""What happens to dialogues that are longer than the sequence length: cut at a turn, split, or dropped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mftcoder.data.encoding import Encoded

TooLong = Literal["truncate", "split", "drop"]
Fate = Literal["whole", "split", "cut", "dropped"]


def fit(encoded: Encoded, *, seq_length: int, too_long: TooLong) -> tuple[list[Encoded], Fate]:
    """Pieces of at most `seq_length` tokens, and what was done: split, nothing was lost; cut, some turns were.

    truncate keeps the turns up to the last assistant turn that fits whole; split makes several dialogues that each
    start with a user turn, with the system turn repeated; drop keeps nothing. An exchange that does not fit by itself
    is lost. Plain text has no turns: truncate keeps its beginning, split makes windows that overlap by one token, so
    that each token is learnt once. A piece with nothing to learn is not kept.
    """
    if len(encoded) <= seq_length:
        return [encoded], "whole"
    if too_long == "drop":
        return [], "dropped"
    cutter = {
        ("truncate", True): head,
        ("split", True): windows,
        ("truncate", False): turns,
        ("split", False): exchanges,
    }
    choices = list(cutter[too_long, len(encoded.roles) == 1](encoded, seq_length))
    pieces = [piece for piece in (select(encoded, tokens) for tokens in choices) if piece.supervised.any()]
    if not pieces:
        return [], "dropped"
    return pieces, "split" if len(np.unique(np.concatenate(choices))) == len(encoded) else "cut"


def head(encoded: Encoded, seq_length: int) -> Iterator[NDArray[Any]]:
    """The first tokens."""
    yield np.arange(seq_length)


def windows(encoded: Encoded, seq_length: int) -> Iterator[NDArray[Any]]:
    """All tokens, in windows that share one token with the next."""
    for start in range(0, len(encoded) - 1, seq_length - 1):
        yield np.arange(start, min(start + seq_length, len(encoded)))


def turns(encoded: Encoded, seq_length: int) -> Iterator[NDArray[Any]]:
    """The tokens up to the end of the last assistant turn that fits."""
    ends = np.searchsorted(encoded.turn, np.arange(len(encoded.roles)), side="right")
    fitting = [end for end, role in zip(ends, encoded.roles, strict=True) if role == "assistant" and end <= seq_length]
    if fitting:
        yield np.arange(fitting[-1])


def exchanges(encoded: Encoded, seq_length: int) -> Iterator[NDArray[Any]]:
    """Runs of whole exchanges (a user turn and what follows it), each with the system turn before it."""
    first = [i for i, role in enumerate(encoded.roles) if role == "user"]
    starts = np.searchsorted(encoded.turn, first)
    ends = [*starts[1:], len(encoded)]
    system = np.arange(starts[0])
    run: list[int] = []
    for start, end in zip(starts, ends, strict=True):
        alone = len(system) + end - start <= seq_length
        if run and not (alone and len(system) + end - run[0] <= seq_length):
            yield np.concatenate([system, np.arange(*run)])
            run = []
        if alone:
            run = [run[0] if run else start, end]
    if run:
        yield np.concatenate([system, np.arange(*run)])


def select(encoded: Encoded, tokens: NDArray[Any]) -> Encoded:
    """The dialogue of these tokens only."""
    supervised = encoded.supervised[tokens]
    supervised[:1] = False
    return Encoded(encoded.ids[tokens], supervised, encoded.turn[tokens], encoded.roles)
