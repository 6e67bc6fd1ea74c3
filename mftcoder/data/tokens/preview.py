"""Dialogues as the model will see them: every token coloured by the loss mask, with a note at each turn."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from rich.text import Text
from transformers import PreTrainedTokenizerBase

from mftcoder.core.dialogue import Dialogue
from mftcoder.core.errors import UserError
from mftcoder.data.records.faults import Fault
from mftcoder.data.records.parsing import parse
from mftcoder.data.records.source import Source
from mftcoder.data.tokens.encoding import Encoded, encode
from mftcoder.data.tokens.too_long import TooLong, fit
from mftcoder.template.base import Template

SUPERVISED = ("grey0 on green3", "grey0 on spring_green2")  # of even and of odd tokens, so that each can be told apart
READ = ("grey93 on grey19", "grey93 on grey30")
NOTE = "bold cyan"
MARKS = str.maketrans({" ": "·", "\t": "⇥", "\n": "⏎\n"})
LEGEND = ((" supervised ", SUPERVISED[0]), (" not supervised ", READ[0]))
LEGEND_OF_MARKS = " ⟦⟧ around what is supervised, · space, ⇥ tab, ⏎ line end, @n turn n; shades tell tokens apart"


def previews(
    source: Source,
    template: Template,
    tokenizer: PreTrainedTokenizerBase,
    *,
    number: int,
    seq_length: int,
    too_long: TooLong | None,
) -> Iterator[Text]:
    """The pieces of the first records of a task, or why there are none.

    Args:
        source: of the records.
        template: renders them.
        tokenizer: of the model.
        number: of records.
        seq_length: most tokens of a piece.
        too_long: what happens to longer ones; None leaves them whole.
    """
    faults: list[Fault] = []
    for _, origin, record in islice(source.records(number, faults), number):
        try:
            encoded = encode(
                [parse(record, origin, format=source.format, columns=source.columns)], template, tokenizer
            )[0]
        except UserError:
            raise
        except ValueError as error:
            yield Text(str(error), style="red")
            continue
        pieces, fate = [encoded], "whole"
        if too_long is not None:
            pieces, fate = fit(encoded, template, tokenizer, seq_length=seq_length, too_long=too_long)
        for i, piece in enumerate(pieces, start=1):
            title = f"{origin}, {len(piece)} tokens, {piece.supervised.sum()} supervised, {fate} {i}/{len(pieces)}\n"
            yield Text.assemble((title, "bold"), coloured(piece, tokenizer))
        if not pieces:
            yield Text(f"{origin}: {len(encoded)} tokens, {fate}", style="bold red")
    yield from (Text(str(fault), style="red") for fault in faults)


def coloured(encoded: Encoded, tokenizer: PreTrainedTokenizerBase) -> Text:
    """The tokens, with a note where a turn begins."""
    text = Text()
    turn, marked = -1, False
    for number, (at, words) in enumerate(words_of(encoded, tokenizer)):
        if marked != encoded.supervised[at]:
            text.append("⟧" if marked else "⟦", NOTE)
            marked = not marked
        if turn != encoded.turn[at]:
            turn = int(encoded.turn[at])
            text.append(f"@{turn + 1}{role_of(encoded, turn)}:", NOTE)
        text.append(words.translate(MARKS), (SUPERVISED if marked else READ)[number % 2])
    return text.append("⟧" if marked else "", NOTE)


def words_of(encoded: Encoded, tokenizer: PreTrainedTokenizerBase) -> Iterator[tuple[int, str]]:
    """Place and text of each token; tokens that are parts of one character come together."""
    before: list[int] = []
    pending: list[int] = []
    for i, token in enumerate(encoded.ids.tolist()):
        pending.append(token)
        words = tokenizer.decode([*before, *pending])[len(tokenizer.decode(before)) :]
        if words.endswith("\N{REPLACEMENT CHARACTER}") and len(pending) < 4 and i + 1 < len(encoded):
            continue
        yield i, words
        before, pending = pending, []


def role_of(encoded: Encoded, turn: int) -> str:
    """The role of a turn, where there are turns."""
    source = encoded.source
    return f" {source.turns[turn].role}" if isinstance(source, Dialogue) and source.turns else ""
