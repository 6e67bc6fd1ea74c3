import json
from collections import Counter
from dataclasses import dataclass
from math import inf

import numpy as np
import pytest

from mftcoder.cli import config
from mftcoder.core.errors import ConfigError, UserError
from mftcoder.data.mixture import Mixture, name_faults
from mftcoder.data.records.source import Source
from mftcoder.data.tokens.tokenise import tokenise
from mftcoder.template.codefuse import CodeFuse

MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}
SETTINGS = {
    "tasks": {},
    "seq_length": 64,
    "padding_mode": "pack",
    "data_split": [80, 20, 0],
    "split_seed": 0,
    "too_long": "truncate",
    "limit": None,
    "max_quarantined_fraction": 0.0,
    "max_record_bytes": 1 << 26,
    "share_of": "tokens",
    "temperature": 1.0,
    "stages": [],
    "stop": "all_exhausted",
    "max_tokens": None,
    "stratified": False,
    "look_ahead": 16,
    "num_workers": 0,
}


@dataclass(kw_only=True)
class Two(Mixture):
    """Two tasks in two directories."""

    root: str

    def sources(self, cache_dir):
        return {name: Source((f"{self.root}/{name}",), format=None, columns={}) for name in ("long", "short")}


def write(directory, number, words):
    directory.mkdir(exist_ok=True)
    rounds = [
        [{"role": "human", "content": f"question {i}"}, {"role": "bot", "content": f"{'word ' * words}{i}"}]
        for i in range(number)
    ]
    lines = (json.dumps({"chat_rounds": some}) + "\n" for some in rounds)
    (directory / "rows.jsonl").write_text("".join(lines))


@pytest.fixture
def load(tmp_path, tokenizer):
    (tmp_path / "data").mkdir()
    for name, number, words in (("long", 30, 3), ("short", 60, 1)):
        write(tmp_path / "data" / name, number, words)

    def made(template=None, tokenizer=tokenizer, **changes):
        data = Two(root=str(tmp_path / "data"), **(SETTINGS | changes))
        template = template or CodeFuse(
            role_markers=MARKERS, tokenization="whole", train_on="assistant", sanitize="escape"
        )
        return data, data.load(tokenizer=tokenizer, template=template, cache_dir=tmp_path / "cache")

    return made


def built(tmp_path, kind="tokens"):
    return {path.name for path in (tmp_path / "cache").glob(f"{kind}-*") if path.is_dir()}


def test_records_become_samples(load, tokenizer):
    _, corpus = load()
    assert corpus.tasks == ["long", "short"]
    assert [[split.num_samples(t) for t in (0, 1)] for split in (corpus.train, corpus.valid, corpus.test)] == [
        [24, 48],
        [6, 12],
        [0, 0],
    ]
    sample = corpus.train.sample(0, 5)
    text, learnt = tokenizer.decode(sample.ids), tokenizer.decode(sample.ids[sample.supervised])
    assert learnt.startswith("word word word ")
    assert text == f"<s>human\nquestion {learnt.split()[3].removesuffix('</s>')}\n<s>bot\n{learnt}\n"
    assert (sample.task, sample.index) == (0, 5)
    assert len(sample) == corpus.train.lengths(0)[5]
    assert sample.supervised.sum() == corpus.train.supervised(0)[5]


def test_the_report_counts_what_became_of_the_records(load, tmp_path):
    (tmp_path / "data" / "long" / "more.jsonl").write_text(
        json.dumps({"chat_rounds": [{"role": "human", "content": "no answer"}]})
        + "\n"
        + json.dumps({"chat_rounds": [{"role": "human", "content": "q"}, {"role": "bot", "content": "a" * 99}]})
        + "\n"
    )
    _, corpus = load()
    report = dict(corpus.report["long"])
    report.pop("quarantine")
    assert report == {"read": 32, "used": 30, "cut": 0, "split": 0, "dropped": 1, "empty": 1, "malformed": 0}


def test_malformed_records_stop_the_run_and_are_listed(load, tmp_path):
    (tmp_path / "data" / "long" / "bad.jsonl").write_text('{"x": 1}\nno json\n')
    with pytest.raises(UserError, match=r"2 of 32 .*\n.*bad.jsonl:2: not JSON.*\n.*bad.jsonl:1: .*keys") as caught:
        load()
    assert "data.max_quarantined_fraction" in str(caught.value)
    _, corpus = load(max_quarantined_fraction=0.1)
    assert corpus.report["long"]["malformed"] == 2
    with open(corpus.report["long"]["quarantine"]) as file:
        lines = [json.loads(line) for line in file]
    assert {line["origin"].rsplit("/", 1)[1] for line in lines} == {"bad.jsonl:1", "bad.jsonl:2"}


def test_tokens_are_made_once(load, tmp_path, monkeypatch):
    _, first = load()
    before = built(tmp_path)
    monkeypatch.setattr("mftcoder.data.loading.Tokeniser", lambda *_: None)
    _, again = load(data_split=[50, 25, 25], tasks={"long": {"weight": 2.0}})
    assert built(tmp_path) == before
    assert again.weights == [2.0, 1.0]
    assert first.weights == [1.0, 1.0]


@pytest.mark.parametrize(
    "changes",
    [{"seq_length": 48}, {"too_long": "drop"}, {"limit": 5}, {"padding_mode": "concat"}, {"template": "other"}],
)
def test_what_decides_the_tokens_makes_them_anew(load, tmp_path, changes):
    load()
    if "template" in changes:
        changes = {"template": CodeFuse(role_markers=MARKERS, tokenization="whole", train_on="all", sanitize="escape")}
    load(**changes)
    assert len(built(tmp_path)) == 4


def test_a_changed_source_is_noticed(load, tmp_path):
    _, first = load()
    write(tmp_path / "data" / "long", 31, 3)
    _, second = load()
    assert second.train.num_samples(0) == first.train.num_samples(0) + 1
    assert len(built(tmp_path)) == 3


def test_a_damaged_table_is_made_anew(load, tmp_path, caplog):
    _, first = load()
    ids = [first.train.sample(0, i).ids.tolist() for i in range(24)]
    for path in (tmp_path / "cache").rglob("table.arrow"):
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 255
        path.unlink()  # the first corpus has the old file mapped
        path.write_bytes(data)
    _, again = load()
    assert [again.train.sample(0, i).ids.tolist() for i in range(24)] == ids
    assert [record.message for record in caplog.records if "is damaged, and made anew" in record.message]


def test_limit_bounds_every_split(load):
    _, corpus = load(limit=4)
    assert [corpus.train.num_samples(t) for t in (0, 1)] == [4, 4]
    assert all(0 < corpus.valid.num_samples(t) <= 4 for t in (0, 1))


def test_what_is_held_out_does_not_leak(load, tokenizer):
    _, corpus = load()
    contents = [
        {tuple(split.sample(task, i).ids) for task in (0, 1) for i in range(split.num_samples(task))}
        for split in (corpus.train, corpus.valid)
    ]
    assert not contents[0] & contents[1]
    assert sum(map(len, contents)) == 90


def test_an_epoch_holds_every_sample_once(load):
    data, corpus = load()
    sampler = data.sampler(corpus.train, packs_per_step=1, seed=0)
    drawn = Counter(s for _ in range(sampler.steps(1)) for pack in sampler.take() for s in pack)
    assert drawn == {(task, row): 1 for task, n in enumerate((24, 48)) for row in range(n)}


def shares_of(load, **changes):
    data, corpus = load(**changes)
    sampler = data.sampler(corpus.train, packs_per_step=4, seed=0)
    return sampler._recipe, corpus


def test_tasks_get_the_share_that_is_said(load):
    recipe, corpus = shares_of(load, tasks={"short": {"share": 0.3}})
    assert recipe.shares.rates(0) == pytest.approx([0.7, 0.3])
    tokens = [corpus.train.num_tokens(t) for t in (0, 1)]
    assert recipe.epoch_size == pytest.approx(max(tokens[0] / 0.7, tokens[1] / 0.3))


@pytest.mark.parametrize(
    ("stop", "which"), [("first_exhausted", min), ("all_exhausted", max), ("max_tokens", lambda totals: 500)]
)
def test_an_epoch_ends_where_the_stop_rule_says(load, stop, which):
    tasks = {"long": {"share": 0.9}}
    recipe, corpus = shares_of(load, tasks=tasks, stop=stop, max_tokens=500 if stop == "max_tokens" else None)
    totals = [corpus.train.num_tokens(0) / 0.9, corpus.train.num_tokens(1) / 0.1]
    assert recipe.epoch_size == pytest.approx(which(totals))


def test_temperature_flattens_the_sizes(load):
    recipe, _ = shares_of(load, temperature=0.0, share_of="samples")
    assert recipe.shares.rates(0) == [0.5, 0.5]
    assert recipe.tokens_per_sample is not None


def test_stages_and_repeats_shape_the_stream(load):
    tasks = {"long": {"share": [0.9, 0.1], "repeat": 2.0}}
    recipe, corpus = shares_of(load, tasks=tasks, stages=[100.0])
    assert recipe.shares.quota(100) == pytest.approx([90, 10])
    assert recipe.shares.quota(200) == pytest.approx([100, 100])
    assert recipe.shares.quota(1e6)[0] == 2 * corpus.train.num_tokens(0)
    assert recipe.shares.end == inf


def test_stratified_raises_small_shares(load):
    _, corpus = load()
    recipe, _ = shares_of(load, stratified=True, tasks={"long": {"share": 0.01}})
    mean = corpus.train.num_tokens(0) / 24
    assert recipe.shares.rates(0)[0] == pytest.approx(mean / (4 * 0.98 * 64))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"data_split": [50, 50]}, "three parts"),
        ({"data_split": [0, 50, 50]}, "three parts"),
        ({"seq_length": 1}, "too small"),
        ({"stop": "max_tokens"}, "give both, or neither"),
        ({"max_tokens": 9}, "give both, or neither"),
        ({"stages": [9.0, 3.0]}, "rising"),
        ({"tasks": {"long": {"share": [0.1, 0.2]}}}, "2 shares for 1 stages"),
        ({"tasks": {"long": {"share": 1.5}}}, "between 0 and 1"),
        ({"tasks": {"long": {"weight": -1.0}}}, "below 0"),
        ({"tasks": {"a": {"weight": 0.0}, "b": {"weight": 0.0}}}, "all of a, b have weight 0"),
        ({"tasks": {"a/b": {}}}, "of printable characters without '/'"),
        ({"tasks": {"long": {"repeat": 0.0}}}, "not above 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_at_once(changes, message):
    with pytest.raises(ValueError, match=message):
        Two(root="", **(SETTINGS | changes))


@pytest.mark.parametrize("attention", ["eager", "flex_attention"])
@pytest.mark.parametrize("mode", ["pack", "concat"])
def test_an_attention_that_packs_would_replace_is_refused(mode, attention):
    words = (f"model.attn_implementation={attention}", f"data.padding_mode={mode}")
    with pytest.raises(ConfigError, match=f"{mode} makes packs, .*attn_implementation={attention}; .*=padding"):
        config.load(*words)
    assert config.load(*words, "data.padding_mode=padding")


@pytest.mark.parametrize("attention", ["null", "sdpa", "flash_attention_2"])
def test_an_attention_that_keeps_to_the_samples_of_packs_passes(attention):
    assert config.load(f"model.attn_implementation={attention}")


def test_tasks_that_there_are_not_are_refused(load):
    with pytest.raises(UserError, match=r"no task lnog; there are long, short"):
        load(tasks={"lnog": {"weight": 2.0}})


def test_every_task_without_samples_to_train_on_is_named_with_its_files(load, tmp_path):
    root = tmp_path / "data"
    for name in ("long", "short"):
        (root / name / "rows.jsonl").rename(root / name / "test_rows.jsonl")
    (root / "long" / "valid").mkdir()
    for i in range(4):
        write(root / "long" / "valid", 1, 1)
        (root / "long" / "valid" / "rows.jsonl").rename(root / "long" / "valid" / f"valid_{i}.jsonl")
    data, corpus = load()  # as evaluate and prepare do
    assert corpus.test.num_samples(0) == 30
    with pytest.raises(UserError) as caught:
        data.sampler(corpus.train, packs_per_step=1, seed=0)
    _, long, short, *remedy = str(caught.value).splitlines()
    assert long.startswith(f"  long: {root}/long/test_rows.jsonl, {root}/long/valid/valid_0.jsonl")
    assert long.endswith("valid_1.jsonl, and 2 more")
    assert short == f"  short: {root}/short/test_rows.jsonl"
    assert "++data.tasks.<task>.share=0" in "".join(remedy)


def test_one_task_without_samples_is_refused_unless_nothing_of_it_was_wanted(load, tmp_path):
    rows = tmp_path / "data" / "short" / "rows.jsonl"
    rows.rename(rows.with_name("valid.jsonl"))
    data, corpus = load()
    with pytest.raises(UserError, match=r"(?m)^  short: .*valid\.jsonl$"):
        data.sampler(corpus.train, packs_per_step=1, seed=0)
    data, corpus = load(tasks={"short": {"share": 0.0}})
    assert {task for pack in data.sampler(corpus.train, packs_per_step=4, seed=0).take() for task, _ in pack} == {0}


def test_concat_learns_every_token_once(load):
    data, corpus = load(padding_mode="concat", seq_length=50)
    _, whole = load()
    for task in (0, 1):
        stream = np.concatenate([whole.train.sample(task, i).ids for i in range(whole.train.num_samples(task))])
        learnt = np.concatenate([whole.train.sample(task, i).supervised for i in range(whole.train.num_samples(task))])
        windows = [corpus.train.sample(task, i) for i in range(corpus.train.num_samples(task))]
        assert [len(window) for window in windows] == corpus.train.lengths(task).tolist()
        assert all(len(window) == 50 for window in windows[:-1])
        assert np.concatenate([windows[0].ids[:1], *(window.ids[1:] for window in windows)]).tolist() == stream.tolist()
        mask = np.concatenate([windows[0].supervised[:1], *(window.supervised[1:] for window in windows)])
        assert mask.tolist() == learnt.tolist()
        assert not any(window.supervised[0] for window in windows)
        assert corpus.train.num_targets(task) == learnt.sum() == corpus.train.supervised(task).sum()
    sampler = data.sampler(corpus.train, packs_per_step=1, seed=0)
    drawn = [s for _ in range(sampler.steps(1)) for pack in sampler.take() for s in pack]
    assert len(drawn) == len(set(drawn)) == corpus.train.num_samples(0) + corpus.train.num_samples(1)


def test_a_file_that_changes_while_it_is_read_is_refused(load, tmp_path, monkeypatch):
    def growing(*arguments, **how):
        made = tokenise(*arguments, **how)
        with (tmp_path / "data" / "long" / "rows.jsonl").open("a") as file:
            file.write("{}\n")
        return made

    monkeypatch.setattr("mftcoder.data.loading.tokenise", growing)
    with pytest.raises(UserError, match=r"task long: .*rows\.jsonl changed while it was read"):
        load()
    assert not built(tmp_path)


def test_a_file_that_goes_while_it_is_read_is_refused(load, tmp_path, monkeypatch):
    def losing(*arguments, **how):
        made = tokenise(*arguments, **how)
        (tmp_path / "data" / "long" / "rows.jsonl").unlink()
        return made

    monkeypatch.setattr("mftcoder.data.loading.tokenise", losing)
    with pytest.raises(UserError, match="changed while it was read"):
        load()


def test_tokens_of_another_version_of_the_code_are_not_used(load, tmp_path, monkeypatch):
    load()
    monkeypatch.setattr("mftcoder.data.corpus.fingerprint.of_code", lambda *_: "another version")
    load()
    assert len(built(tmp_path)) == 4


def test_the_split_seed_decides_what_is_held_out(load):
    def held_out(**changes):
        _, corpus = load(**changes)
        return [corpus.valid.sample(0, i).ids.tolist() for i in range(corpus.valid.num_samples(0))]

    assert held_out() == held_out(split_seed=0)
    assert held_out() != held_out(split_seed=1)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a/b"], "task 'a/b': its name becomes part of files' names"),
        ([""], "task '': its name"),
        ([".."], "task '..': its name"),
        (["a\nb"], r"task 'a\nb': its name"),
        (["x" * 201], "a name of 201 bytes; at most 200"),
        (["Code", "code"], "tasks Code, code: names that differ in case alone"),
    ],
)
def test_names_that_no_file_can_have_are_refused(names, message):
    assert [fault for fault in name_faults(names) if message in fault]
    assert not list(name_faults(["code", "v1.0", "v1.1", "x" * 200, "名 前"]))
