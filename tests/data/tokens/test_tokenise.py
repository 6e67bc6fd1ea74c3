import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mftcoder.data.corpus.tables import TABLE, Table
from mftcoder.data.records.parsing import parse
from mftcoder.data.records.source import Source
from mftcoder.data.tokens import tokenise as module
from mftcoder.data.tokens.encoding import encode
from mftcoder.data.tokens.tokenise import QUARANTINE, Tokeniser, processes, tokenise
from mftcoder.template.codefuse import CodeFuse

MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


def template():
    return CodeFuse(role_markers=MARKERS, tokenization="whole", train_on="assistant", sanitize="escape")


def written(path, records):
    path.write_text("".join(json.dumps(record) + "\n" for record in records))
    return Source((str(path),), format=None, columns={})


def run(tokenizer, source, directory, *, num_workers=0, too_long="truncate", seq_length=80):
    directory.mkdir()
    tokeniser = Tokeniser(template(), tokenizer, source, seq_length, too_long)
    fates, faults = tokenise(tokeniser, directory, name="task", limit=None, num_workers=num_workers)
    return Table(directory), fates, faults


def record(question, *answers):
    rounds = [{"role": "human", "content": question}]
    for answer in answers:
        rounds += [{"role": "bot", "content": answer}, {"role": "human", "content": "more"}]
    return {"chat_rounds": rounds[:-1] if answers else rounds}


@given(pairs=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=12), batch=st.integers(1, 5))
@settings(deadline=None, max_examples=25)
def test_a_table_holds_what_encoding_gives_in_order(tokenizer, tmp_path_factory, pairs, batch):
    root = tmp_path_factory.mktemp("table")
    records = [record(*pair) for pair in pairs]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", batch)
        table, fates, _ = run(tokenizer, written(root / "a.jsonl", records), root / "out", too_long=None)
    examples = [parse(some, "x", format=None, columns={}) for some in records]
    expected = encode(examples, template(), tokenizer)
    assert fates == {"read": len(pairs), "whole": len(pairs)}
    for i, encoded in enumerate(expected):
        ids, supervised = table.row(i)
        assert ids.tolist() == encoded.ids.tolist()
        assert supervised.tolist() == encoded.supervised.tolist()
    assert table.lengths.tolist() == [len(encoded) for encoded in expected]
    assert table.targets.tolist() == [encoded.supervised.sum() for encoded in expected]


def test_pieces_keep_split_and_key_of_the_whole(tokenizer, tmp_path):
    records = [record("q", *["a" * 30] * 5), record("q", "a")]
    table, fates, _ = run(tokenizer, written(tmp_path / "valid.jsonl", records), tmp_path / "out", too_long="split")
    assert fates["split"] == 1
    assert len(table.key) > 3
    assert len(set(table.key[:-1])) == 1
    assert table.key[0] != table.key[-1]
    assert set(table.split) == {1}
    assert table.lengths.max() <= 80


def test_equal_content_has_one_key_wherever_it_stands(tokenizer, tmp_path):
    records = [record("q", "a"), record("q", "b"), record("q", "a") | {"id": 7}]
    keys = run(tokenizer, written(tmp_path / "rows.jsonl", records), tmp_path / "out")[0].key
    assert keys[0] == keys[2] != keys[1]


def test_every_fate_is_counted(tokenizer, tmp_path):
    path = tmp_path / "rows.jsonl"
    written(path, [record("q", "a"), record("q", "a" * 99), record("q", "a", "a" * 99), record("q"), {"x": 1}])
    path.write_text(path.read_text() + "{\n")
    _, fates, faults = run(tokenizer, Source((str(path),), None, {}), tmp_path / "out")
    assert fates == {"read": 6, "whole": 1, "dropped": 1, "cut": 1, "empty": 1, "malformed": 2}
    assert {fault.origin for fault in faults} == {f"{path}:5", f"{path}:6"}
    lines = [json.loads(line) for line in (tmp_path / "out" / QUARANTINE).read_text().splitlines()]
    assert [line["origin"] for line in lines][: len(faults)] == [fault.origin for fault in faults]
    reasons = [line["reason"].partition(":")[0] for line in lines[len(faults) :]]
    assert sorted(reasons) == ["dropped"] * fates["dropped"] + ["empty"] * fates["empty"] != []


def test_a_task_of_which_nothing_is_left_is_an_empty_table(tokenizer, tmp_path):
    table, fates, _ = run(tokenizer, written(tmp_path / "rows.jsonl", [record("q")]), tmp_path / "out")
    assert len(table.lengths) == len(table.split) == 0
    assert fates["empty"] == 1


@pytest.mark.slow
def test_processes_write_the_same_table(tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "BATCH", 10)
    words = np.random.default_rng(0).integers(1, 9, 100)
    source = written(tmp_path / "rows.jsonl", [record(f"question {i}", "word " * n) for i, n in enumerate(words)])
    one = run(tokenizer, source, tmp_path / "one")
    two = run(tokenizer, source, tmp_path / "two", num_workers=2)
    assert one[1:] == two[1:]
    assert (tmp_path / "one" / TABLE).read_bytes() == (tmp_path / "two" / TABLE).read_bytes()


def test_processes_are_started_for_much_only(tmp_path, monkeypatch):
    source = written(tmp_path / "rows.jsonl", [record("q", "a")])
    assert processes(source, None, None) == 0
    assert processes(source, None, 3) == 3
    monkeypatch.setattr(module, "LARGE", 1)
    monkeypatch.setattr(module.os, "cpu_count", lambda: 4)
    assert processes(source, None, None) == 0
    monkeypatch.setattr(module.os, "cpu_count", lambda: 16)
    assert processes(source, None, None) == 16
    assert processes(source, 10, None) == 0


ORPHAN = """
import os, sys, time
from multiprocessing import get_context
from mftcoder.data.tokens.tokenise import adopt

def sleep():
    adopt(None)
    print(os.getpid(), flush=True)
    time.sleep(60)

if __name__ == "__main__":
    get_context("spawn").Process(target=sleep).start()
    time.sleep(60)
"""


@pytest.mark.slow
def test_workers_die_with_their_parent_however_that_is_killed(tmp_path):
    (tmp_path / "parent.py").write_text(ORPHAN)
    with subprocess.Popen([sys.executable, tmp_path / "parent.py"], stdout=subprocess.PIPE, text=True) as parent:
        worker = int(parent.stdout.readline())
        parent.kill()
    for _ in range(100):
        if not Path(f"/proc/{worker}").exists():
            return
        time.sleep(0.1)
    os.kill(worker, signal.SIGKILL)
    pytest.fail("the worker lives on")
