"""What a checkpoint that somebody else has written can make the reader do: files mutated at random, watched by a hook.

    python bench/fuzz.py [out.json] [mutations] [seed]     2000 mutations

One file of a small checkpoint (run.json, adapter_config.json, tokenizer_config.json) or of its run (config.yaml) is
mutated at a time, by gadgets, wrong types, deep nests, damaged bytes, and read as generate, evaluate and export do. An
audit hook counts imports, texts compiled, files opened for writing, sockets, processes and changes of the file system.
"""

from __future__ import annotations

import collections
import json
import os
import random
import sys
import tempfile
from pathlib import Path

os.environ["HF_HUB_OFFLINE"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests" / "support"))

import hostile_checkpoints as hostile
from saved_runs import save_run

MUTATIONS = 2000


def main() -> None:
    number = int(sys.argv[2]) if len(sys.argv) > 2 else MUTATIONS
    seed = int(sys.argv[3]) if len(sys.argv) > 3 else 0
    with tempfile.TemporaryDirectory() as directory:
        run = save_run(Path(directory) / "run")
        found = hostile.fuzz(run, Path(directory) / "fuzz", number, random.Random(seed))
    print(
        f"{found.tried} mutations: {found.refused} refused in words, {len(found.acts)} acts, {len(found.crashes)} other"
    )
    print(f"errors; the slowest took {found.slowest:.2f} s")
    for text, times in collections.Counter(found.crashes).most_common():
        print(f"{times:5} {text}")
    for act in found.acts:
        print(act)
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(json.dumps(vars(found), indent=1), encoding="utf-8")
    sys.exit(bool(found.acts or found.crashes))


if __name__ == "__main__":
    main()
