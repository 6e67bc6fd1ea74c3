"""A library of Python to files of dialogues, split by module."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from mftcoder.data.corpus.cache import digest
from mftcoder.data.exercises.functions import Function, functions
from mftcoder.data.exercises.tasks import Exercise, exercises
from mftcoder.data.records.source import SPLITS


def cut(library: Path, data_split: Sequence[float], directory: Path) -> dict[str, int]:
    """Write <task>/{train,valid,test}.jsonl into `directory`; returns how many dialogues each task has."""
    found = functions(library)
    split_of = split_packages(found, data_split)
    tasks = exercises(found, library / "test")
    for name, made in tasks.items():
        write(directory / name, made, split_of)
    return {name: len(made) for name, made in tasks.items()}


def split_packages(found: Iterable[Function], parts: Sequence[float]) -> dict[str, int]:
    """The split of each top-level module: in the order of the hashes of their names, until each part is full."""
    sizes = Counter(function.package for function in found)
    room = {i: parts[i] / sum(parts) * sizes.total() for i in (1, 2)}
    split_of = dict.fromkeys(sizes, 0)
    for package in sorted(sizes, key=lambda name: digest(name.encode())):
        for split, free in room.items():
            if split_of[package] == 0 and sizes[package] <= free:
                split_of[package] = split
                room[split] -= sizes[package]
    return split_of


def write(directory: Path, made: Iterable[Exercise], split_of: dict[str, int]) -> None:
    """One file a split, in an order that mixes the modules."""
    directory.mkdir()
    lines: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for exercise in made:
        rounds = [{"role": "human", "content": exercise.question}, {"role": "bot", "content": exercise.answer}]
        lines[split_of[exercise.package]].append(json.dumps({"data_name": directory.name, "chat_rounds": rounds}))
    for split, rows in lines.items():
        text = "".join(f"{row}\n" for row in sorted(rows, key=lambda row: digest(row.encode())))
        (directory / f"{SPLITS[split]}.jsonl").write_text(text, encoding="utf-8")
