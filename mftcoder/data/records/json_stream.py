"""JSON values out of a file of any length, one at a time."""

from __future__ import annotations

import codecs
import io
import json
import re
from typing import Any

BLOCK = 1 << 20
BETWEEN = re.compile(r"[\s,]*")
NUMBER = re.compile(r"[-+.eE\d]*")
LONGEST = "-Infinity"  # of what is one token, and so an error at its first character where it is cut off


class JsonStream:
    """Values one after the other, with little more than one of them in memory.

    Args:
        file: UTF-8, with or without a byte order mark.
        max_value_bytes: longest value, in characters as read.

    Attributes:
        line: where it stands, from 1.
    """

    def __init__(self, file: io.BufferedReader, max_value_bytes: int) -> None:
        self.line = 1
        self._most = max_value_bytes
        self._file = file
        self._characters = codecs.getincrementaldecoder("utf-8-sig")()
        self._scan = json.JSONDecoder().raw_decode
        self._buffer = ""
        self._at = 0

    def peek(self) -> str:
        """The next character that is neither space nor comma; empty at the end."""
        while True:
            if between := BETWEEN.match(self._buffer, self._at):
                self._move(between.end())
            if self._at < len(self._buffer) or not self._fill():
                return self._buffer[self._at : self._at + 1]

    def skip(self) -> None:
        """Go over one character."""
        self._move(self._at + 1)

    def value(self) -> Any:
        """The value that begins here.

        Raises:
            ValueError: there is none (JSONDecodeError), or it is too long.
            RecursionError: it is nested too deeply.
        """
        while True:
            try:
                value, stop = self._scan(self._buffer, self._at)
            except json.JSONDecodeError as error:
                if not self._incomplete(error):
                    raise
                if len(self._buffer) - self._at > self._most:
                    raise ValueError(f"a value of more than data.max_record_bytes={self._most} bytes") from error
                if not self._fill():
                    raise
            else:
                if isinstance(value, int | float) and NUMBER.fullmatch(self._buffer, stop) and self._fill():
                    continue  # A number may go on in the next block.
                self._move(stop)
                return value

    def _move(self, to: int) -> None:
        self.line += self._buffer.count("\n", self._at, to)
        self._at = to

    def _fill(self) -> bool:
        """Read on, as much again as is waiting, so that a long value is not scanned too often."""
        more = self._file.read(max(BLOCK, len(self._buffer) - self._at))
        self._buffer, self._at = self._buffer[self._at :] + self._characters.decode(more, final=not more), 0
        return bool(more)

    def _incomplete(self, error: json.JSONDecodeError) -> bool:
        """Whether the text may only have ended too early: inside a string, or within its last characters."""
        return error.msg.startswith("Unterminated string") or error.pos >= len(self._buffer) - len(LONGEST)
