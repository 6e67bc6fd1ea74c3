"""HTML around the parts of a page: one file, its style and script inside, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from importlib.resources import files


def document(title: str, body: str) -> str:
    """A whole page. body: HTML."""
    inside = files("mftcoder.report")
    style = inside.joinpath("style.css").read_text(encoding="utf-8")
    script = inside.joinpath("values.js").read_text(encoding="utf-8")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{style}</style></head>"
        f"<body><h1>{escape(title)}</h1>{body}<script>{script}</script></body></html>\n"
    )


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, raw: int = 0, lines: bool = False) -> str:
    """A table, its first column always in sight.

    Args:
        headings: of the columns.
        rows: texts of the cells.
        raw: how many cells at the beginning of each row are HTML.
        lines: whether cells may have several lines.
    """
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    cells = ["".join(f"<td>{cell if i < raw else escape(cell)}</td>" for i, cell in enumerate(row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in cells)
    kind = ' class="lines"' if lines else ""
    return f'<div class="scroll"><table{kind}><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def facts(known: Mapping[str, str | None]) -> str:
    """Names and what is known of them."""
    told = (f"<dt>{escape(name)}</dt><dd>{_fact(name, value)}</dd>" for name, value in known.items() if value)
    return f"<dl>{''.join(told)}</dl>"


def fold(title: str, content: str) -> str:
    """HTML that opens when its title is clicked."""
    return f"<details><summary>{escape(title)}</summary>{content}</details>"


def _fact(name: str, value: str) -> str:
    return f"<code>{escape(value)}</code>" if name == "command" else escape(value)
