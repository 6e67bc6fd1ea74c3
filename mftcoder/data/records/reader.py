"""Files to records, each with the place that it came from."""

from __future__ import annotations

import io
import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from mftcoder.core.errors import UserError
from mftcoder.data.records.faults import EXCERPT, Fault
from mftcoder.data.records.json_stream import BLOCK, JsonStream
from mftcoder.data.records.parsing import WANTED, detect

BOM = b"\xef\xbb\xbf"
ROWS = 1024
MAX_RECORD_BYTES = 1 << 26
COMPRESSION = {".gz": "gzip", ".zst": "zstd"}

Row = tuple[str, dict[str, Any]]


def read(
    source: Path,
    faults: list[Fault],
    *,
    columns: Collection[str] = (),
    max_record_bytes: int = MAX_RECORD_BYTES,
) -> Iterator[Row]:
    """The records of one file, each with its origin, `path:line` or `path:row`.

    Args:
        source: a file of one of the kinds of `mftcoder.data.records.files`.
        faults: what is no record is added to it.
        columns: names that are needed of a table's columns, besides those of the formats.
        max_record_bytes: longest record of a JSON file; a longer line is a fault.

    Raises:
        UserError: the file breaks off or cannot be read on, so that what follows would be lost.
    """
    try:
        if source.suffix in (".parquet", ".arrow"):
            yield from table_rows(source, faults, columns)
            return
        with opened(source) as file:
            if ".jsonl" in source.suffixes or one_a_line(file):
                yield from json_lines(source, file, faults, max_record_bytes)
            else:
                yield from json_values(source, file, faults, max_record_bytes)
    except (OSError, pa.ArrowInvalid, UnicodeDecodeError) as error:
        raise UserError(f"{source}: cannot be read to its end: {error}") from error


def opened(source: Path) -> io.BufferedReader:
    """The bytes of a file, decompressed; pyarrow's streams, unlike zstandard's, notice one that breaks off."""
    compression = COMPRESSION.get(source.suffix)
    return io.BufferedReader(pa.input_stream(str(source), compression=compression), BLOCK)


def json_lines(source: Path, file: io.BufferedReader, faults: list[Fault], max_record_bytes: int) -> Iterator[Row]:
    """One JSON object a line; empty lines are none."""
    for number, raw in enumerate(iter(lambda: file.readline(max_record_bytes + 2), b""), start=1):
        origin = f"{source}:{number}"
        if len(raw) > max_record_bytes and not raw.endswith(b"\n"):
            size = len(raw) + skip_line(file)
            faults.append(Fault(origin, too_large(size, max_record_bytes), raw[:EXCERPT].decode("utf-8", "replace")))
            continue
        line = (raw.removeprefix(BOM) if number == 1 else raw).rstrip()
        if not line:
            continue
        try:
            yield origin, decode(line)
        except (ValueError, RecursionError) as error:
            faults.append(Fault(origin, str(error), line[:EXCERPT].decode("utf-8", "replace")))


def skip_line(file: io.BufferedReader) -> int:
    """Read to the end of a line, a block at a time; its bytes."""
    size = 0
    while part := file.readline(BLOCK):
        size += len(part)
        if part.endswith(b"\n"):
            break
    return size


def too_large(size: int, allowed: int) -> str:
    """What is wrong with a record of `size` bytes."""
    return f"a record of {size:,} bytes; expected at most data.max_record_bytes={allowed}"


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


def json_values(source: Path, file: io.BufferedReader, faults: list[Fault], max_record_bytes: int) -> Iterator[Row]:
    """The objects of a JSON array, or objects one after the other, over any number of lines each.

    Raises:
        UserError: a syntax error, or too long a value; where the next record begins is not known then.
    """
    values = JsonStream(file, max_record_bytes)
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


def table_rows(source: Path, faults: list[Fault], columns: Collection[str]) -> Iterator[Row]:
    """The rows of a Parquet or Arrow file, numbered from 1, with the columns that are needed."""
    number = 0
    for batch in table_batches(source, columns):
        for row in batch_rows(batch):
            number += 1
            origin = f"{source}:{number}"
            if isinstance(row, dict):
                yield origin, row
            else:
                faults.append(Fault(origin, f"a value that Python cannot hold ({row}); expected text", ""))


def batch_rows(batch: pa.RecordBatch) -> Iterator[dict[str, Any] | Exception]:
    """The rows of a batch; for one that cannot be converted, why."""
    try:
        yield from batch.to_pylist()
        return
    except (ValueError, OverflowError, pa.ArrowException):
        pass  # some row of it: look for it row by row
    for i in range(batch.num_rows):
        try:
            yield batch.slice(i, 1).to_pylist()[0]
        except (ValueError, OverflowError, pa.ArrowException) as error:
            yield error


def table_batches(source: Path, columns: Collection[str]) -> Iterator[pa.RecordBatch]:
    """The rows in batches, with little in memory at any time."""
    if source.suffix == ".parquet":
        from pyarrow.parquet import ParquetFile

        with ParquetFile(source, memory_map=True) as file:
            yield from file.iter_batches(batch_size=ROWS, columns=needed(file.schema_arrow.names, columns))
        return
    with pa.memory_map(str(source)) as file:
        for batch in arrow_batches(file):
            chosen = batch.select(needed(batch.schema.names, columns))
            yield from (chosen.slice(start, ROWS) for start in range(0, chosen.num_rows, ROWS))


def needed(names: list[str], columns: Collection[str]) -> list[str]:
    """The columns of a table that a format may read; all of them if they fit none, so that the error can name them."""
    chosen = [name for name in names if name in WANTED or name in columns]
    if not columns:
        try:
            detect(dict.fromkeys(chosen, True))
        except ValueError:
            return names
    return chosen


def arrow_batches(file: pa.NativeFile) -> Iterator[pa.RecordBatch]:
    """The batches of an Arrow file, or of a stream as the library datasets writes it."""
    is_file = file.read(6) == b"ARROW1"
    file.seek(0)
    if not is_file:
        yield from pa.ipc.open_stream(file)
        return
    reader = pa.ipc.open_file(file)
    yield from (reader.get_batch(i) for i in range(reader.num_record_batches))
