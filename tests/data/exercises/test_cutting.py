import json
import sysconfig
from pathlib import Path

import pytest
from library import make_library

from mftcoder.data.exercises.cutting import cut, split_packages
from mftcoder.data.exercises.functions import Function
from mftcoder.data.exercises.tasks import TASKS


def contents(directory):
    return {str(path.relative_to(directory)): path.read_text() for path in sorted(directory.rglob("*.jsonl"))}


def function(package):
    return Function(package, "f", "f()", "", "", 1)


def test_every_task_has_a_file_for_each_split(tmp_path):
    library = make_library(tmp_path / "library")
    (tmp_path / "out").mkdir()
    counts = cut(library, [90, 5, 5], tmp_path / "out")
    files = contents(tmp_path / "out")
    assert set(files) == {f"{task}/{split}.jsonl" for task in TASKS for split in ("train", "valid", "test")}
    assert counts == {
        task: sum(files[f"{task}/{s}.jsonl"].count("\n") for s in ("train", "valid", "test")) for task in TASKS
    }
    row = json.loads(files["docstring_writing/train.jsonl"])
    assert row["data_name"] == "docstring_writing"
    assert [turn["role"] for turn in row["chat_rounds"]] == ["human", "bot"]


def test_the_same_library_gives_the_same_files(tmp_path):
    library = make_library(tmp_path / "library")
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        cut(library, [80, 10, 10], tmp_path / name)
        made.append(contents(tmp_path / name))
    assert made[0] == made[1]


def test_packages_fill_their_parts_and_are_never_divided():
    found = [function(f"p{i}") for i in range(100) for _ in range(i % 7 + 1)]
    split_of = split_packages(found, [80, 15, 5])
    sizes = [sum(split_of[f.package] == split for f in found) for split in range(3)]
    assert set(split_of) == {f"p{i}" for i in range(100)}
    assert sizes[1] == pytest.approx(0.15 * len(found), abs=7)
    assert sizes[2] == pytest.approx(0.05 * len(found), abs=7)
    assert split_packages(found, [80, 15, 5]) == split_of
    assert set(split_packages(found, [1, 0, 0]).values()) == {0}


@pytest.mark.slow
def test_the_running_python_gives_five_tasks_of_different_size_without_leaks(tmp_path):
    library = Path(sysconfig.get_path("stdlib"))
    counts = cut(library, [90, 5, 5], tmp_path)
    assert all(counts[task] > 200 for task in TASKS)
    assert max(counts.values()) > 2 * min(counts.values())
    files = contents(tmp_path)
    answers = {split: set() for split in ("train", "valid", "test")}
    for task in TASKS:
        for split in answers:
            rows = [json.loads(line)["chat_rounds"] for line in files[f"{task}/{split}.jsonl"].splitlines()]
            assert rows, (task, split)
            if task in ("bug_repair", "text_to_code"):
                answers[split] |= {row[1]["content"] for row in rows}
    assert not answers["train"] & (answers["valid"] | answers["test"])
    assert not answers["valid"] & answers["test"]
