"""Examples to token ids, with a mask of what is learnt that is exact to the character."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue, Example, Preference, Pretokenised
from mftcoder.core.errors import UserError
from mftcoder.data.records.faults import EXCERPT, Fault
from mftcoder.data.tokens.offsets import Aligned, Aligner, num_bytes
from mftcoder.data.tokens.sanitizing import Sanitizer
from mftcoder.template.base import Segment, Template, Tokenization


@dataclass(frozen=True, slots=True)
class Encoded:
    """A tokenised example of n tokens.

    ids: [n] int32. supervised: [n] bool, never True for the first token, which nothing predicts.
    turn: [n] int32, the turn that a token belongs to. source: what it was made from.
    """

    ids: NDArray[np.int32]
    supervised: NDArray[np.bool_]
    turn: NDArray[np.int32]
    source: Dialogue | Pretokenised

    def __len__(self) -> int:
        return len(self.ids)


Rendering = tuple[int, Dialogue, list[Segment]]


def encode(
    examples: Sequence[Example],
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    faults: list[Fault] | None = None,
) -> list[Encoded]:
    """Render and tokenise, in one batch, in order. No token is added before or after what the template renders.

    The mask follows the characters of the rendering: a token belongs to the segment of its last character.
    What cannot be rendered goes to `faults`; without that list it raises ValueError, naming its origin. A template
    that cannot render anything (the tokenizer lacks its tokens) raises UserError.
    """
    tokens = backend(tokenizer, len(tokenizer))
    done: dict[int, Encoded] = {}
    plain: list[Rendering] = []
    guarded: list[Rendering] = []
    for i, example in enumerate(examples):
        try:
            if isinstance(example, Dialogue):
                dialogue, hidden = tokens.sanitizer.hide(example, template.sanitize)
                rendering = (i, example, template.render(dialogue, tokenizer))
                (guarded if hidden else plain).append(rendering)
            else:
                done[i] = pretokenised(example, len(tokenizer))
        except UserError:
            raise
        except ValueError as error:
            if faults is None:
                raise ValueError(f"{example.origin}: {error}") from None
            faults.append(Fault(example.origin, str(error), str(example)[:EXCERPT]))
    done |= tokenised(plain, template.tokenization, tokens.plain)
    done |= tokenised([(i, d, tokens.sanitizer.shown(s)) for i, d, s in guarded], template.tokenization, tokens.guarded)
    return [done[i] for i in sorted(done)]


def encode_prompt(dialogue: Dialogue, template: Template, tokenizer: PreTrainedTokenizerBase) -> NDArray[np.int32]:
    """The ids [n] that ask for the next assistant turn of `dialogue`, sanitised as in training."""
    tokens = backend(tokenizer, len(tokenizer))
    hiding, hidden = tokens.sanitizer.hide(dialogue, template.sanitize)
    prompt = template.prompt(hiding, tokenizer)
    return (tokens.guarded([tokens.sanitizer.show(prompt)]) if hidden else tokens.plain([prompt])).ids


def encode_preferences(
    pairs: Sequence[Preference], template: Template, tokenizer: PreTrainedTokenizerBase
) -> list[tuple[Encoded, Encoded]]:
    """The chosen and the rejected dialogue of each pair; ValueError names the origin of one that cannot be rendered."""
    both = encode([dialogue for pair in pairs for dialogue in (pair.chosen, pair.rejected)], template, tokenizer)
    return list(zip(both[::2], both[1::2], strict=True))


class Backend:
    """A Rust tokenizer twice: plain, as it is; guarded, for text in whose words control tokens stand."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.sanitizer = Sanitizer(tokenizer)
        self.plain = Aligner(tokenizer)

    @cached_property
    def _guarded(self) -> Aligner:
        return Aligner(self.sanitizer.tokenizer)

    def guarded(self, texts: Sequence[str]) -> Aligned:
        """The ids of `texts`, as Sanitizer.show gives them."""
        if not texts:
            return self.plain(texts)
        aligned = self._guarded(texts)
        ids = self.sanitizer.meaning[aligned.ids]
        if (ids < 0).any():
            raise UserError("this tokenizer makes control tokens of plain text: use template.sanitize=error or keep")
        return aligned._replace(ids=ids)


@lru_cache(maxsize=4)
def backend(tokenizer: PreTrainedTokenizerBase, size: int) -> Backend:
    """The tokenizer in copies of our own; `size` changes if tokens are added, which makes new ones."""
    inner = getattr(tokenizer, "backend_tokenizer", None)
    if not isinstance(inner, Tokenizer):
        raise UserError(f"the tokenizer {type(tokenizer).__name__} is not a fast one: it has no tokenizer.json")
    return Backend(inner)


def tokenised(
    renderings: Sequence[Rendering], tokenization: Tokenization, tokenize: Callable[[Sequence[str]], Aligned]
) -> dict[int, Encoded]:
    """The tokens of each rendering, by its number."""
    segments = [segment for _, _, rendered in renderings for segment in rendered]
    units = [list(texts(rendered, tokenization)) for _, _, rendered in renderings]
    ids, last, counts = tokenize([text for unit in units for text in unit])
    ends = np.cumsum(np.fromiter((num_bytes(segment.text) for segment in segments), np.int64, len(segments)))
    in_segment = np.diff(np.searchsorted(last, ends), prepend=0)
    supervised = np.repeat(np.fromiter((s.supervised for s in segments), np.bool_, len(segments)), in_segment)
    turn = np.repeat(np.fromiter((s.turn for s in segments), np.int32, len(segments)), in_segment)
    stops = np.concatenate([[0], np.cumsum(counts)])[np.cumsum([0, *map(len, units)])]
    supervised[stops[:-1][np.diff(stops) > 0]] = False
    return {
        i: Encoded(ids[start:stop], supervised[start:stop], turn[start:stop], dialogue)
        for (i, dialogue, _), start, stop in zip(renderings, stops, stops[1:], strict=False)
    }


def texts(segments: Sequence[Segment], tokenization: Tokenization) -> Iterator[str]:
    """The segments in texts that are tokenised each in one go."""
    if tokenization == "whole":
        yield "".join(segment.text for segment in segments)
        return
    starts = [i for i, segment in enumerate(segments) if i == 0 or not segment.joined]
    for start, stop in zip(starts, [*starts[1:], len(segments)], strict=True):
        yield "".join(segment.text for segment in segments[start:stop])


def pretokenised(example: Pretokenised | Preference, vocabulary: int) -> Encoded:
    """The tokens as they came; ValueError if this tokenizer has no such ids, or if it is a pair."""
    if isinstance(example, Preference):
        raise ValueError(
            "a preference pair, from which no objective learns; its chosen answer alone is learnt with "
            "+data.tasks.<task>.columns.completion=chosen (columns.messages=chosen if that is a whole dialogue)"
        )
    ids = example.ids
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
        raise ValueError(
            f"input_ids from {ids.min()} to {ids.max()}; this tokenizer has those from 0 to {vocabulary - 1}"
        )
    supervised = example.supervised.copy()
    supervised[:1] = False
    return Encoded(ids, supervised, np.zeros(len(ids), dtype=np.int32), example)
