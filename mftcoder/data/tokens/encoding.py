"""Examples to token ids, with a loss mask that is exact to the character."""

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

    Args:
        ids: [n] int32.
        supervised: [n] bool, the loss mask; never True for the first token, which nothing predicts.
        turn: [n] int32, the turn that a token belongs to.
        source: what it was made from.
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
    """Renders and tokenises, in one batch, in order. No token is added before or after what the template renders.

    Args:
        examples: dialogues, or what was tokenised elsewhere.
        template: renders the dialogues.
        tokenizer: of the model.
        faults: what cannot be rendered is added to it; None raises instead.

    Raises:
        UserError: the template cannot render anything, as the tokenizer lacks its tokens.
        ValueError: an example cannot be rendered, and there is no list of faults; it names the origin.
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
            raise UserError(
                f"this tokenizer makes control tokens of plain text: use template.sanitize=error or keep "
                f"({int((ids < 0).sum())} in {texts[0][:40]!r} …)"
            )
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
    """Token ids and loss mask of R renderings, S segments in all, that become N tokens.

    The loss mask: a template renders a dialogue as segments, each wholly in the loss or wholly out of it. A token is
    supervised if the segment that holds its last character is. So a token that straddles the border of two segments
    goes with the later one: of `<s>assistant\\n` and `x + 1`, one that is `\\nx` holds a character of the answer,
    and is supervised; of `x + 1</s>` and `\\n`, the end token is, the newline is not. The first token of a rendering
    never is: nothing predicts it.

    It is exact to the character without the tokenizer's offsets, which are slow: the aligner knows the byte that every
    token ends on. These bytes never decrease, so the tokens that end before a segment does are found by bisection, and
    their differences are the tokens of each segment. Cost: O(N + S log N), in NumPy.

    Args:
        renderings: number, dialogue and segments of each.
        tokenization: whole, or segments.
        tokenize: gives ids, last bytes and counts of many texts.

    Returns:
        The tokens of each rendering, by its number.
    """
    segments = [segment for _, _, rendered in renderings for segment in rendered]  # [S]
    # 1. Tokenise the texts of all renderings in one batch. Bytes are counted over all texts, end to end.
    texts_of = [list(texts(rendered, tokenization)) for _, _, rendered in renderings]  # [R]
    ids, last_byte, tokens_of_text = tokenize([text for some in texts_of for text in some])  # [N], [N], [texts]
    # 2. Count the tokens of each segment: those whose last byte lies before its end, and not before its start.
    segment_end = np.cumsum(np.fromiter((num_bytes(segment.text) for segment in segments), np.int64, len(segments)))
    tokens_until = np.searchsorted(last_byte, segment_end)  # [S]
    tokens_of_segment = np.diff(tokens_until, prepend=0)  # [S]
    # 3. Give every token the mask and the turn of its segment.
    in_loss = np.fromiter((segment.supervised for segment in segments), np.bool_, len(segments))  # [S]
    turn_of = np.fromiter((segment.turn for segment in segments), np.int32, len(segments))  # [S]
    supervised, turn = np.repeat(in_loss, tokens_of_segment), np.repeat(turn_of, tokens_of_segment)  # [N]
    # 4. Find where each rendering begins and ends, and take its first token out of the loss.
    tokens_before_text = np.concatenate([[0], np.cumsum(tokens_of_text)])  # [texts + 1]
    bounds = tokens_before_text[np.cumsum([0, *map(len, texts_of)])]  # [R + 1]
    starts, stops = bounds[:-1], bounds[1:]
    supervised[starts[starts < stops]] = False
    return {
        i: Encoded(ids[start:stop], supervised[start:stop], turn[start:stop], dialogue)
        for (i, dialogue, _), start, stop in zip(renderings, starts, stops, strict=True)
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
