"""Token ids of many texts at once, together with where in its text each token ends."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tokenizers import Encoding, Tokenizer

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

NO_LENGTH = 1 << 20


class Aligned(NamedTuple):
    """Some texts as N tokens, end to end.

    Attributes:
        ids: [N] int32.
        last: [N], the byte that each token ends on, counted over all texts.
        counts: [texts], tokens of each text.
    """

    ids: NDArray[np.int32]
    last: Ints
    counts: Ints


class Aligner:
    """Tokenises, adding nothing, and knows the bytes behind every token.

    The Rust tokenizer is much faster where it need not track offsets. For byte-level vocabularies, and for
    SentencePiece ones with byte fallback, they follow from the tokens themselves: each id stands for a fixed number
    of bytes. Where these do not add up to the bytes of the text (a normaliser changed it, an unknown token), that text
    is tokenised again with offsets.

    Args:
        tokenizer: is copied.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = deepcopy(tokenizer)
        self.tokenizer.no_truncation()
        self.tokenizer.no_padding()
        self.tokenizer.post_processor = None  # ByteLevel's would trim the offsets
        self.tokenizer.encode_special_tokens = tokenizer.encode_special_tokens  # a copy loses it
        description = json.loads(tokenizer.to_str())
        self.rewriting = rewriting(description)
        self.prefixing = prefixing(description)
        self.lengths, self.added, self.prefixed = token_bytes(tokenizer, description)

    def __call__(self, texts: Sequence[str]) -> Aligned:
        """The tokens of all texts; bytes count from the start of the first."""
        ids_of = [encoding.ids for encoding in self.tokenizer.encode_batch_fast(texts, add_special_tokens=False)]
        counts = np.fromiter(map(len, ids_of), np.int64, len(texts))
        ids = np.fromiter(chain.from_iterable(ids_of), np.int32, counts.sum())
        sizes = np.fromiter(map(num_bytes, texts), np.int64, len(texts))
        lengths = self.bytes_of(ids, counts)
        ends = np.concatenate([[0], np.cumsum(lengths)])
        stops = np.cumsum(counts)
        first, text_start = ends[stops - counts], np.cumsum(sizes) - sizes
        last = ends[1:] - (lengths > 0) + np.repeat(text_start - first, counts)
        for i in {*np.flatnonzero(ends[stops] - first != sizes).tolist(), *self.rewritten(texts)}:
            encoding = self.tokenizer.encode(texts[i], add_special_tokens=False)
            last[stops[i] - counts[i] : stops[i]] = text_start[i] + last_bytes(texts[i], encoding)
        return Aligned(ids, np.minimum(last, np.repeat(text_start + sizes - 1, counts)), counts)

    def bytes_of(self, ids: NDArray[np.int32], counts: Ints) -> Ints:
        """The bytes of text behind each token [N]; a space that the tokenizer put before a piece is none."""
        lengths = self.lengths[ids]
        if self.prefixing == "never" or not len(ids):
            return lengths
        starts = np.zeros(len(ids) + 1, dtype=np.bool_)
        starts[np.cumsum(counts) - counts] = True
        if self.prefixing == "always":
            starts[1:] |= self.added[ids]
        return lengths - (starts[:-1] & self.prefixed[ids])

    def rewritten(self, texts: Sequence[str]) -> Iterator[int]:
        """The texts that the normaliser may change in ways that a number of bytes does not show."""
        if self.rewriting == "never":
            return iter(())
        composed = self.rewriting == "composes"
        return (
            i
            for i, text in enumerate(texts)
            if not (composed and (text.isascii() or unicodedata.is_normalized("NFC", text)))
        )


def num_bytes(text: str) -> int:
    """The length of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def last_bytes(text: str, encoding: Encoding) -> Ints:
    """The byte of `text` at which the last character of each token begins."""
    spans = np.array(encoding.offsets, dtype=np.int64).reshape(-1, 2)
    code_points = np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32)
    widths = 1 + (code_points >= 0x80) + (code_points >= 0x800) + (code_points >= 0x10000)
    chars = np.maximum(spans[:, 0], spans[:, 1] - 1).clip(max=len(text) - 1)
    return np.maximum.accumulate((np.cumsum(widths) - widths)[chars])


def parts(step: dict[str, Any] | None) -> Iterator[dict[str, Any]]:
    """The steps of a normaliser or pre-tokeniser, sequences taken apart."""
    if step is None:
        return
    members = step.get("normalizers") or step.get("pretokenizers")
    if members is None:
        yield step
    for member in members or ():
        yield from parts(member)


def rewriting(description: dict[str, Any]) -> Literal["never", "composes", "anyhow"]:
    """What the normaliser does to a text, SentencePiece's way of writing spaces aside."""
    spaces = ({"type": "Prepend", "prepend": "▁"}, {"type": "Replace", "pattern": {"String": " "}, "content": "▁"})
    steps = {step["type"] for step in parts(description["normalizer"]) if step not in spaces}
    if not steps:
        return "never"
    return "composes" if steps == {"NFC"} else "anyhow"


def prefixing(description: dict[str, Any]) -> Literal["never", "first", "always"]:
    """Before which pieces of a text (the stretches between added tokens) the tokenizer puts a space of its own."""
    if any(step["type"] == "Prepend" for step in parts(description["normalizer"])):
        return "always"
    for step in parts(description["pre_tokenizer"]):
        if step["type"] == "Metaspace":
            scheme: Literal["never", "first", "always"] = step["prepend_scheme"]
            return scheme
    return "never"


def token_bytes(tokenizer: Tokenizer, description: dict[str, Any]) -> tuple[Ints, Flags, Flags]:
    """For each id: the bytes it stands for, whether it was added to the vocabulary, whether it begins with a `▁`."""
    byte_level = any(step["type"] == "ByteLevel" for step in parts(description["pre_tokenizer"]))
    vocabulary = tokenizer.get_vocab(with_added_tokens=True)
    lengths = np.full(max(vocabulary.values(), default=0) + 1, NO_LENGTH, dtype=np.int64)
    added, prefixed = np.zeros_like(lengths, dtype=np.bool_), np.zeros_like(lengths, dtype=np.bool_)
    for token, i in vocabulary.items():
        prefixed[i] = token.startswith("▁") and not byte_level
        lengths[i] = len(token) if byte_level else piece_bytes(token)
    for i, extra in tokenizer.get_added_tokens_decoder().items():
        added[i], prefixed[i], lengths[i] = True, False, num_bytes(extra.content)
    unknown = description["model"].get("unk_token")
    if not byte_level and unknown in vocabulary:
        lengths[vocabulary[unknown]] = NO_LENGTH
    return lengths, added, prefixed


def piece_bytes(token: str) -> int:
    """The bytes of a SentencePiece token: `▁` is a space, `<0xE5>` one byte."""
    byte = len(token) == 6 and token.startswith("<0x") and token.endswith(">")
    return 1 if byte else num_bytes(token.replace("▁", " "))
