"""Standard output and error that no run dies of: closed pipes, poor encodings, escape sequences."""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

GONE = (errno.EPIPE, errno.EIO, errno.ENOSPC)  # nobody reads, the terminal is dead, the log's disk is full

# Control characters as pictures of themselves, but for tab and newline, so that no text moves a cursor or sets a title.
PICTURES = {code: chr(0x2400 + code) for code in range(32) if chr(code) not in "\t\n"}
PICTURES |= {0x7F: "\u2421"} | dict.fromkeys(range(128, 160), "�")


def visible(text: str) -> str:
    """The text with its control characters shown: what data, models and answers say is never sent to a terminal."""
    return text.translate(PICTURES)


class LastingStream:
    """A text stream that is given up, and not the run, where it can no longer be written.

    Args:
        stream: standard output or error.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # An ASCII terminal shows ? for the characters that it lacks.

    def write(self, text: str) -> int:
        """Write, or forget, the text; how many characters it has."""
        try:
            self._stream.write(text)
        except (OSError, ValueError) as error:
            self._give_up(error)
        return len(text)

    def flush(self) -> None:
        """Hand what was written to the operating system."""
        try:
            self._stream.flush()
        except (OSError, ValueError) as error:
            self._give_up(error)

    def _give_up(self, error: Exception) -> None:
        if isinstance(error, OSError) and error.errno not in GONE:
            raise error
        null = os.open(os.devnull, os.O_WRONLY)
        if isinstance(error, OSError):  # A ValueError says that Python has closed it.
            os.dup2(null, self._stream.fileno())
        os.close(null)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def make_streams_last() -> None:
    """Replace this process's standard output and error by streams that no write to ends the process."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - None: was closed
        if not isinstance(stream, LastingStream):
            setattr(sys, name, LastingStream(stream))
