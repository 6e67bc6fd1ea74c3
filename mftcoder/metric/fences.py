"""The code in an answer that has words around it."""

from __future__ import annotations

import re

FENCED = re.compile(r"^[ ]*```[^\n`]*\n(.*?)(?:^[ ]*```|\Z)", re.DOTALL | re.MULTILINE)


def unfenced(answer: str) -> str:
    """The text of the first fenced block (it may be cut off at its end), or the whole answer where there is none."""
    found = FENCED.search(answer)
    return found[1] if found else answer
