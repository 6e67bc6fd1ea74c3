"""Files to records, each with the place that it came from."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from mftcoder.data.faults import EXCERPT, Fault

BOM = b"\xef\xbb\xbf"


def read(source: Path, faults: list[Fault]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The records of one file, each with its origin `path:line`; what is no record goes to `faults`."""
    with source.open("rb") as lines:
        for number, raw in enumerate(lines, start=1):
            line = raw.removeprefix(BOM) if number == 1 else raw
            if not line.strip():
                continue
            origin = f"{source}:{number}"
            try:
                yield origin, decode(line)
            except (ValueError, RecursionError) as error:
                faults.append(Fault(origin, str(error), line[:EXCERPT].decode("utf-8", "replace")))


def decode(line: bytes) -> dict[str, Any]:
    """The JSON object that `line` holds; ValueError says what else it is."""
    try:
        record = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start} of the line; expected one JSON object in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno}); expected one JSON object a line") from error
    if not isinstance(record, dict):
        raise ValueError(f"a JSON {type(record).__name__}; expected a JSON object")
    return record
