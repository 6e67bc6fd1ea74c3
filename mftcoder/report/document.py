"""HTML around the parts of a page: one file, its style and script inside, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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


def table(headings: Sequence[str], rows: Iterable[Sequence[str]], *, raw: int = 0) -> str:
    """A table whose cells are text; the first `raw` of each row are HTML."""
    head = "".join(f"<th>{escape(heading)}</th>" for heading in headings)
    lines = ["".join(f"<td>{cell if i < raw else escape(cell)}</td>" for i, cell in enumerate(row)) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
