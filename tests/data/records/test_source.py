import json

import pytest

from mftcoder.core.errors import UserError
from mftcoder.data.records.source import Source


@pytest.fixture
def directory(tmp_path):
    for name, number in (("train.jsonl", 3), ("valid-00.jsonl", 2), ("more.jsonl", 9)):
        lines = [json.dumps({"text": f"{name} {i}"}) + "\n" for i in range(number)]
        (tmp_path / name).write_text("".join(lines))
    return tmp_path


def source(*paths):
    return Source(tuple(map(str, paths)), format=None, columns={})


def test_names_of_files_say_the_split(directory):
    found = [(split, record["text"]) for split, _, record in source(directory).records(None, [])]
    assert found == [
        *((-1, f"more.jsonl {i}") for i in range(9)),
        *((0, f"train.jsonl {i}") for i in range(3)),
        *((1, f"valid-00.jsonl {i}") for i in range(2)),
    ]


@pytest.mark.parametrize(
    ("name", "inside", "alone"),
    [
        ("train.jsonl", 0, 0),
        ("valid-00.jsonl", 1, 1),
        ("validation-00000-of-00002.jsonl", 1, 1),
        ("test.jsonl.gz", 2, 2),
        ("test_words.jsonl", 2, -1),
        ("valid-hard.jsonl", 1, -1),
        ("training_notes.jsonl", -1, -1),
        ("tests.jsonl", -1, -1),
        ("retest.jsonl", -1, -1),
    ],
)
def test_only_whole_words_are_splits_and_a_path_to_a_file_names_a_task(tmp_path, name, inside, alone):
    file = tmp_path / name
    file.write_text('{"text": "a"}\n')
    for path, split in ((tmp_path, inside), (tmp_path / "*", inside), (file, alone)):
        assert source(path).files == [file]
        assert source(path).split_of(file) == split


def test_a_limit_holds_for_each_split_and_leaves_enough_to_divide(directory):
    splits = [split for split, _, _ in source(directory).records(2, [])]
    assert splits == [-1] * 6 + [0] * 2 + [1] * 2


def test_several_paths_are_one_source(directory):
    origins = [origin for _, origin, _ in source(directory / "train.jsonl", directory / "more.jsonl").records(None, [])]
    assert origins[0] == f"{directory}/more.jsonl:1"
    assert len(origins) == 12


def test_lines_are_counted_where_each_is_a_record(directory):
    assert source(directory).lines() == 14
    (directory / "table.json").write_text("[]")
    assert source(directory).lines() is None


def test_faults_are_collected(directory):
    (directory / "train.jsonl").write_text('{"text": "a"}\n{\n')
    faults = []
    assert len(list(source(directory / "train.jsonl").records(None, faults))) == 1
    assert faults[0].origin == f"{directory}/train.jsonl:2"


def test_a_path_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match="nothing"):
        _ = source(tmp_path / "nothing").files
