"""Five tasks cut out of the running Python's standard library: real code on any machine, without a network."""

import json
import sys
import sysconfig
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from mftcoder.data.cache import cached, digest, file_digest
from mftcoder.data.exercises import Exercise, exercises
from mftcoder.data.functions import Function, functions
from mftcoder.data.mixture import Mixture
from mftcoder.data.source import SPLITS, Source

MAKERS = ("functions", "mutation", "exercises", "stdlib")


@dataclass(kw_only=True)
class Stdlib(Mixture):
    """The standard library as code completion, bug repair, text-to-code, docstring writing and test writing.

    A top-level module belongs to one split with all its functions and their tests, so that nothing is learnt that is
    asked for later. The same for the same version of Python.
    """

    def sources(self, cache_dir: Path) -> dict[str, Source]:
        """The tasks as JSONL with chat_rounds, cut now or before."""
        library = Path(sysconfig.get_path("stdlib"))
        here = Path(__file__).parent
        key = {
            "python": sys.version,
            "library": str(library),
            "data_split": list(self.data_split),
            "code": [file_digest(here / f"{name}.py") for name in MAKERS],
        }

        def build(directory: Path) -> dict[str, int]:
            found = functions(library)
            split_of = split_packages(found, self.data_split)
            tasks = exercises(found, library / "test")
            for name, made in tasks.items():
                write(directory, name, made, split_of)
            return {name: len(made) for name, made in tasks.items()}

        root = cached(cache_dir, "stdlib", key, build)
        return {name: Source(root / name, format="chat_rounds", columns={}) for name in self.tasks}


def split_packages(found: Iterable[Function], parts: list[float]) -> dict[str, int]:
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


def write(directory: Path, name: str, made: Iterable[Exercise], split_of: dict[str, int]) -> None:
    """One file a split, in an order that mixes the modules."""
    (directory / name).mkdir()
    lines: dict[int, list[str]] = {0: [], 1: [], 2: []}
    for exercise in made:
        rounds = [{"role": "human", "content": exercise.question}, {"role": "bot", "content": exercise.answer}]
        lines[split_of[exercise.package]].append(json.dumps({"data_name": name, "chat_rounds": rounds}))
    for split, rows in lines.items():
        text = "".join(f"{row}\n" for row in sorted(rows, key=lambda row: digest(row.encode())))
        (directory / name / f"{SPLITS[split]}.jsonl").write_text(text, encoding="utf-8")
