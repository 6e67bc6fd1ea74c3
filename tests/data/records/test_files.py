"""Names of sources to files."""

from __future__ import annotations

import os
from pathlib import Path

import datasets
import pytest

from mftcoder.core.errors import UserError
from mftcoder.data.records.files import files
from mftcoder.data.records.reader import read


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.jsonl", "a.json", "deep/er/c.parquet", "deep/d.jsonl.gz", "notes.txt", "dataset_info.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return tmp_path


def test_a_directory_gives_all_files_of_records_below_it_in_order(tree: Path) -> None:
    names = [str(path.relative_to(tree)) for path in files(str(tree))]
    assert names == ["a.json", "b.jsonl", "deep/d.jsonl.gz", "deep/er/c.parquet"]


def test_links_are_followed_but_nothing_is_read_twice(tree: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "more.jsonl").touch()
    (tree / "linked").symlink_to(elsewhere)
    (tree / "again").symlink_to(elsewhere)
    (tree / "deep" / "back").symlink_to(tree)
    (tree / "file.jsonl").symlink_to(elsewhere / "more.jsonl")
    names = [str(path.relative_to(tree)) for path in files(str(tree))]
    assert names == ["a.json", "again/more.jsonl", "b.jsonl", "deep/d.jsonl.gz", "deep/er/c.parquet", "file.jsonl"]


def test_a_link_that_leads_nowhere_is_refused(tree: Path) -> None:
    (tree / "lost.jsonl").symlink_to(tree / "absent.jsonl")
    with pytest.raises(UserError, match=r"lost\.jsonl: a link to .*absent\.jsonl, which is not there"):
        files(str(tree))


def test_a_pattern_and_a_file_give_what_they_name(tree: Path) -> None:
    assert files(f"{tree}/**/*.jsonl*") == [tree / "b.jsonl", tree / "deep/d.jsonl.gz"]
    assert files(f"{tree}/b.jsonl") == [tree / "b.jsonl"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("notes.txt", "notes.txt is of no known kind; expected files of .jsonl, .json"),
        ("deep/er/*.json", "no records there"),
        ("absent.jsonl", "absent.jsonl: not found, though "),
    ],
)
def test_what_holds_no_records_is_refused(tree: Path, source: str, message: str) -> None:
    with pytest.raises(UserError) as error:
        files(f"{tree}/{source}")
    assert message in str(error.value)


def test_a_data_set_of_the_hub_is_fetched_and_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [{"question": "?", "answer": str(i)} for i in range(3)]
    asked = []

    def load_dataset(name: str, *, split: str) -> datasets.Dataset:
        asked.append((name, split))
        datasets.Dataset.from_list(records).save_to_disk(str(tmp_path / "saved"))
        return datasets.load_from_disk(str(tmp_path / "saved"))

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    found = files("owner/name:validation") + files("owner/name")
    assert asked == [("owner/name", "validation"), ("owner/name", "train")]
    assert [record for _, record in read(found[0], [])] == records


def test_a_data_set_that_cannot_be_fetched_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def load_dataset(name: str, *, split: str) -> datasets.Dataset:
        raise FileNotFoundError("no such data set")

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    with pytest.raises(UserError, match="owner/name: neither a path here nor a data set that can be fetched: no such"):
        files("owner/name")


def test_pipes_and_devices_are_no_data(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jsonl")
    for source in (tmp_path, tmp_path / "pipe.jsonl", tmp_path / "*.jsonl", Path("/dev/null")):
        with pytest.raises(UserError, match=r"a pipe, a socket or a device"):
            files(str(source))


def test_what_looks_local_is_not_looked_for_on_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets, "load_dataset", lambda *_, **__: pytest.fail("asked the hub"))
    monkeypatch.chdir(tmp_path)
    Path("data").mkdir()
    with pytest.raises(UserError, match=r"data/nothere: not found, though data is here"):
        files("data/nothere")
