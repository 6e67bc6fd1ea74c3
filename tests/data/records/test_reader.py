"""Every kind of file gives its records with their places; nothing crashes the reader, and nothing valid is lost."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from mftcoder.core.errors import UserError
from mftcoder.data.records import json_stream, reader
from mftcoder.data.records.faults import Fault, refuse
from mftcoder.data.records.reader import read

RECORDS = [{"text": "eins"}, {"text": "排序\u00a0😀"}, {"text": "a\nb", "meta": {"n": [1, 2]}}]
GOOD = b'{"text": "good"}'


def everything(path: Path) -> tuple[list[tuple[str, dict]], list[Fault]]:
    faults: list[Fault] = []
    return list(read(path, faults)), faults


def lines(records: list[dict]) -> bytes:
    return "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records).encode()


@pytest.mark.parametrize(
    ("name", "data", "places"),
    [
        ("a.jsonl", lines(RECORDS), [1, 2, 3]),
        ("a.jsonl.gz", gzip.compress(lines(RECORDS[:1])) + gzip.compress(lines(RECORDS[1:])), [1, 2, 3]),
        ("a.jsonl.zst", zstandard.compress(lines(RECORDS[:1])) + zstandard.compress(lines(RECORDS[1:])), [1, 2, 3]),
        ("a.json", lines(RECORDS), [1, 2, 3]),
        ("a.json", json.dumps(RECORDS).encode(), [1, 1, 1]),
        ("a.json", json.dumps(RECORDS[0]).encode() + b"\n", [1]),
        ("a.json.gz", gzip.compress(json.dumps(RECORDS, indent=1).encode()), [2, 5, 8]),
        ("a.json", b"\xef\xbb\xbf\n" + json.dumps(RECORDS, indent=1).encode(), [3, 6, 9]),
        ("a.json", b"\n\n".join(json.dumps(record, indent=1).encode() for record in RECORDS), [1, 5, 9]),
        ("a.json", b" [ ] ", []),
        ("a.json", b"", []),
        ("a.jsonl", b"", []),
        ("a.jsonl", lines(RECORDS).replace(b"\n", b"\r\n\r\n").rstrip(), [1, 3, 5]),
    ],
)
def test_files_give_their_records_with_their_lines(tmp_path: Path, name: str, data: bytes, places: list[int]) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    rows, faults = everything(path)
    assert rows == [(f"{path}:{place}", record) for place, record in zip(places, RECORDS, strict=False)]
    assert not faults


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_tables_give_their_rows(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "ROWS", 2)
    table = pa.table({"messages": [[{"role": "user", "content": str(i)}] for i in range(5)]})
    path = tmp_path / ("a.parquet" if kind == "parquet" else "a.arrow")
    if kind == "parquet":
        pq.write_table(table, path)
    else:
        new = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with new(str(path), table.schema) as writer:
            writer.write_table(table)
    rows, _ = everything(path)
    assert rows == [(f"{path}:{i + 1}", {"messages": [{"role": "user", "content": str(i)}]}) for i in range(5)]


@pytest.mark.parametrize("block", [1, 7, 64])
def test_an_array_is_read_in_small_blocks(tmp_path: Path, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_stream, "BLOCK", block)
    path = tmp_path / "a.json"
    path.write_text(json.dumps([*RECORDS, 7, {"text": '\\ " \u1234 😀'}], indent=2), encoding="utf-8")
    rows, faults = everything(path)
    assert [record for _, record in rows] == [
        *RECORDS,
        {"text": '\\ " \u1234 \ud83d\ude00'.encode("utf-16", "surrogatepass").decode("utf-16")},
    ]
    assert [str(fault) for fault in faults] == [f"{path}:17: a JSON int; expected a JSON object"]


BAD_LINES = {
    "NUL": (b'{"text": "\x00"}', "not JSON (Invalid control character at at column 11)"),
    "zeros": (b"\x00" * 50, "not JSON"),
    "bad UTF-8": (b'{"text": "\xff"}', "not UTF-8 at byte 11"),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), "not UTF-8"),
    "number": (b"7", "a JSON int; expected a JSON object"),
    "list": (b"[1]", "a JSON list"),
    "null": (b"null", "a JSON NoneType"),
    "cut": (b'{"text": "a', "not JSON (Unterminated string"),
    "two": (GOOD + GOOD, "not JSON (Extra data"),
    "deep": (b"[" * 200_000, "recursion"),
    "huge number": (b'{"text": ' + b"9" * 10_000 + b"}", "limit"),
    "big line": (b'{"text": "' + b"x" * 10_000_000, "not JSON"),
    "script": (b"../../etc/passwd", "not JSON"),
}


@pytest.mark.parametrize("bad", BAD_LINES)
def test_a_bad_line_costs_no_good_one(tmp_path: Path, bad: str) -> None:
    line, reason = BAD_LINES[bad]
    path = tmp_path / ".." / tmp_path.name / "a.jsonl"
    path.write_bytes(b"\n".join([GOOD, line, GOOD]))
    rows, faults = everything(path)
    assert [origin for origin, _ in rows] == [f"{path}:1", f"{path}:3"]
    assert len(faults) == 1
    assert faults[0].origin == f"{path}:2"
    assert reason in faults[0].reason
    assert len(faults[0].text) <= 200


def test_a_line_of_ten_megabytes_is_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(lines([{"text": "x" * 10_000_000}]) + GOOD)
    rows, faults = everything(path)
    assert [len(record["text"]) for _, record in rows] == [10_000_000, 4]
    assert not faults


@settings(max_examples=150, deadline=None)
@given(st.lists(st.one_of(st.binary(max_size=40), st.just(GOOD), st.just(b'{"text": "\xc3\xa9"}')), max_size=12))
def test_any_bytes_end_as_records_or_faults(tmp_path_factory: pytest.TempPathFactory, chunks: list[bytes]) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "a.jsonl"
    path.write_bytes(b"\n".join(chunks))
    rows, faults = everything(path)
    content = [line for line in path.read_bytes().split(b"\n") if line.strip()]
    assert len(rows) + len(faults) >= len([line for line in content if line.strip(b"\xef\xbb\xbf")])
    assert len([r for _, r in rows if r == {"text": "good"}]) >= chunks.count(GOOD)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("a.json", b'[{"text": "a"},\n{"text": }, {"text": "b"}]', "a.json:2: not JSON"),
        ("a.json", b'[{"text": "a"},\n{"text": "b"', "a.json:2: not JSON"),
        ("a.json", b"[\n" + b"[" * 200_000, "a.json:2: not JSON (maximum recursion depth"),
        ("a.json", b'[{"text": "a"},\n', "a.json:2: no ] that ends the array"),
        ("a.json", b'[{"text": "a"}] {"text": "b"}', "a.json:1: text after ] that ends the array"),
        ("a.json", b'[{"text": "\xff"}]', "can't decode byte 0xff"),
        ("a.jsonl.gz", gzip.compress(lines(RECORDS * 1000))[:-20], "cannot be read"),
        ("a.jsonl.gz", lines(RECORDS), "cannot be read"),
        ("a.jsonl.zst", zstandard.compress(lines(RECORDS * 1000))[:-20], "cannot be read"),
        ("a.parquet", b"PAR1 and no more", "cannot be read"),
        ("a.arrow", b"ARROW1 and no more", "cannot be read"),
        ("a.arrow", b"", "cannot be read"),
    ],
)
def test_a_file_that_breaks_off_is_refused(tmp_path: Path, name: str, data: bytes, message: str) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(UserError, match="a\\.") as error:
        everything(path)
    assert message in str(error.value)


def test_faults_are_reported_together(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b"x\n" * 3 + b"".join(b" " * n + b"x\n" for n in range(1, 24)) + GOOD)
    rows, faults = everything(path)
    refuse(faults, rows=27, max_fraction=0.97, remedy="Mend them.")
    with pytest.raises(UserError) as error:
        refuse(faults, rows=27, max_fraction=0.0, remedy="Mend them.")
    report = str(error.value).splitlines()
    assert report[0] == "26 of 27 records cannot be used (allowed: 0.00%):"
    assert report[1].startswith(f"  {path}:1: not JSON")
    assert report[1].endswith(f" (and 2 more like it, the last {path}:3)")
    assert report[20].startswith(f"  {path}:22: not JSON")
    assert report[21:] == ["  … and 4 more", "Mend them."]
    assert len(rows) == 1


def test_columns_that_nobody_needs_are_not_read(tmp_path: Path) -> None:
    far = pa.array([2**31 - 1], pa.int32()).cast(pa.date32())  # no date of Python's
    pq.write_table(pa.table({"prompt": ["q"], "answer": ["a"], "born": far}), tmp_path / "a.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as file:
        table = pa.table({"prompt": ["q"], "answer": ["a"], "born": far})
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(table)
    for name in ("a.parquet", "a.arrow"):
        rows, faults = everything(tmp_path / name)
        assert ([row for _, row in rows], faults) == ([{"prompt": "q", "answer": "a"}], [])


def test_a_row_that_cannot_be_converted_is_a_fault_of_its_own(tmp_path: Path) -> None:
    days = pa.array([0, 2**31 - 1, 1], pa.int32()).cast(pa.date32())
    pq.write_table(pa.table({"prompt": ["q"] * 3, "answer": days}), tmp_path / "a.parquet")
    rows, faults = everything(tmp_path / "a.parquet")
    assert [origin.rpartition(":")[2] for origin, _ in rows] == ["1", "3"]
    assert [str(fault).partition(" (")[0] for fault in faults] == [
        f"{tmp_path}/a.parquet:2: a value that Python cannot hold"
    ]


def test_columns_of_other_names_are_read_where_they_are_asked_for(tmp_path: Path) -> None:
    pq.write_table(pa.table({"ask": ["q"], "say": ["a"], "x": [1]}), tmp_path / "a.parquet")
    (_, row), *_ = read(tmp_path / "a.parquet", [], columns=["ask", "say"])
    assert row == {"ask": "q", "say": "a"}
    (_, row), *_ = read(tmp_path / "a.parquet", [])
    assert list(row) == ["ask", "say", "x"]  # for the message that names them


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz"])
def test_a_record_beyond_the_bound_is_a_fault_and_the_next_is_read(tmp_path: Path, name: str) -> None:
    data = lines([{"text": "a"}, {"text": "b" * (3 << 20)}, {"text": "c"}, {"text": "d" * (3 << 20)}])[:-1]
    (tmp_path / name).write_bytes(gzip.compress(data) if name.endswith("gz") else data)
    faults: list[Fault] = []
    found = [record["text"] for _, record in read(tmp_path / name, faults, max_record_bytes=1000)]
    assert found == ["a", "c"]
    assert [fault.origin.rpartition(":")[2] for fault in faults] == ["2", "4"]
    assert "a record of 3,145,740 bytes; expected at most data.max_record_bytes=1000" in faults[1].reason


def test_a_record_of_just_the_bound_is_read(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(GOOD + b"\n" + GOOD)
    assert len(list(read(tmp_path / "a.jsonl", [], max_record_bytes=len(GOOD)))) == 2


def test_a_value_beyond_the_bound_ends_the_reading_of_json(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps([{"text": "b" * (5 << 20)}]))
    with pytest.raises(
        UserError, match=r"a\.json:1: not JSON \(a value of more than data\.max_record_bytes=1000 bytes"
    ):
        list(read(tmp_path / "a.json", [], max_record_bytes=1000))
