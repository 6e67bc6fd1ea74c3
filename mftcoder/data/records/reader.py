"""Files to records, each with the place that it came from."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mftcoder.core.errors import UserError
from mftcoder.data.records.faults import EXCERPT, Fault
from mftcoder.data.records.json_stream import BLOCK, JsonStream

BOM = b"\xef\xbb\xbf"
ROWS = 1024
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}

Row = tuple[str, dict[str, Any]]


def read(source: Path, faults: list[Fault]) -> Iterator[Row]:
    """The records of one file, each with its origin, `path:line` or `path:row`; what is no record goes to `faults`.

    A file that breaks off, or that cannot be read on, raises UserError: what follows would be lost.
    """
    try:
        if source.suffix in (".parquet", ".arrow"):
            yield from table_rows(source)
            return
        with opened(source) as file:
            if ".jsonl" in source.suffixes or one_a_line(file):
                yield from json_lines(source, file, faults)
            else:
                yield from json_values(source, file, faults)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise UserError(f"{source}: cannot be read to its end: {error}") from error


def opened(source: Path) -> io.BufferedReader:
    """The bytes of a file, decompressed; pyarrow's streams, unlike zstandard's, notice one that breaks off."""
    compression = COMPRESSION.get(source.suffix)
    return io.BufferedReader(pa.input_stream(str(source), compression=compression), BLOCK)


def json_lines(source: Path, file: io.BufferedReader, faults: list[Fault]) -> Iterator[Row]:
    """One JSON object a line; empty lines are none."""
    for number, raw in enumerate(file, start=1):
        line = (raw.removeprefix(BOM) if number == 1 else raw).rstrip()
        if not line:
            continue
        origin = f"{source}:{number}"
        try:
            yield origin, decode(line)
        except (ValueError, RecursionError) as error:
            faults.append(Fault(origin, str(error), line[:EXCERPT].decode("utf-8", "replace")))


def decode(line: bytes) -> dict[str, Any]:
    """The JSON object that `line` holds; ValueError says what else it is."""
    try:
        return an_object(json.loads(line.decode("utf-8")))
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start + 1}; expected a JSON object in UTF-8") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON ({error.msg} at column {error.colno}); expected one JSON object a line") from error


def an_object(value: Any) -> dict[str, Any]:
    """`value` if it is a JSON object."""
    if not isinstance(value, dict):
        raise ValueError(f"a JSON {type(value).__name__}; expected a JSON object")
    return value


def one_a_line(file: io.BufferedReader) -> bool:
    """Whether a .json file begins with a line that is an object by itself, as in .jsonl files."""
    line = file.peek(BLOCK).removeprefix(BOM).lstrip().partition(b"\n")[0]
    try:
        return bool(decode(line))
    except (ValueError, RecursionError):
        return False


def json_values(source: Path, file: io.BufferedReader, faults: list[Fault]) -> Iterator[Row]:
    """The objects of a JSON array, or objects one after the other, over any number of lines each.

    After a syntax error nothing can be told apart: it raises UserError.
    """
    values = JsonStream(file)
    array = values.peek() == "["
    if array:
        values.skip()
    while (next_one := values.peek()) and not (array and next_one == "]"):
        origin = f"{source}:{values.line}"
        try:
            value = values.value()
        except (ValueError, RecursionError) as error:
            raise UserError(f"{origin}: not JSON ({error}); expected an object") from error
        try:
            yield origin, an_object(value)
        except ValueError as error:
            faults.append(Fault(origin, str(error), str(value)[:EXCERPT]))
    if array:
        values.skip()
        if not next_one or values.peek():
            raise UserError(f"{source}:{values.line}: {'text after' if next_one else 'no'} ] that ends the array")


def table_rows(source: Path) -> Iterator[Row]:
    """The rows of a Parquet or Arrow file, numbered from 1."""
    number = 0
    for batch in table_batches(source):
        for row in batch.to_pylist():
            number += 1
            yield f"{source}:{number}", row


def table_batches(source: Path) -> Iterator[pa.RecordBatch]:
    """The rows in batches, with little in memory at any time."""
    if source.suffix == ".parquet":
        from pyarrow.parquet import ParquetFile

        with ParquetFile(source, memory_map=True) as file:
            yield from file.iter_batches(batch_size=ROWS)
        return
    with pa.memory_map(str(source)) as file:
        for batch in arrow_batches(file):
            yield from (batch.slice(start, ROWS) for start in range(0, batch.num_rows, ROWS))


def arrow_batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file, or of a stream as the library datasets writes it."""
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    if not is_file:
        yield from pa.ipc.open_stream(file)
        return
    reader = pa.ipc.open_file(file)
    yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
