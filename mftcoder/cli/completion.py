"""What Tab offers: verbs first, and of Hydra's groups and keys those that the verb has."""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from mftcoder.cli import help_pages, overlay
from mftcoder.cli.command import Command

LINE = "COMP_LINE"


@contextmanager
def of(command: Command) -> Iterator[None]:
    """Let through what Hydra offers for a line, as far as the verb has it, with the verbs where one may stand."""
    offered = io.StringIO()
    with redirect_stdout(offered):
        yield
    if not os.environ.get(LINE):
        print(offered.getvalue(), end="")  # what installs or removes it
        return
    typed = os.environ[LINE].split(" ")
    own = overlay.parts(command.conf, command.verb)
    known = {*own.groups, *own.keys, "hydra", "+hydra"}
    words = [word for word in offered.getvalue().split() if "." in word or _part(word) in known]
    if len(typed) == 2:
        every = [*help_pages.verbs(command.conf), *help_pages.PLAIN]
        words = [*(verb for verb in every if verb.startswith(typed[-1])), *words]
    print(" ".join(words))


def _part(word: str) -> str:
    return word.partition("=")[0].partition("/")[0]
