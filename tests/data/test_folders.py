import json

import pytest
import yaml

from mftcoder.cli.config import conf_dir
from mftcoder.core.errors import UserError
from mftcoder.data.folders import Folders, name_of
from mftcoder.template.codefuse import CodeFuse

MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}


def folders(**changes):
    values = yaml.safe_load((conf_dir() / "data" / "folders.yaml").read_text())
    assert values.pop("_target_") == "mftcoder.data.folders.Folders"
    return Folders(**(values | changes))


@pytest.fixture
def root(tmp_path):
    for name in ("code", "tests"):
        (tmp_path / name).mkdir()
        rows = [{"prompt": f"q{i}", "answer": f"{name} {i}"} for i in range(20)]
        (tmp_path / name / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path


def load(data, tokenizer, root):
    template = CodeFuse(role_markers=MARKERS, tokenization="whole", train_on="assistant", sanitize="escape")
    return data.load(tokenizer=tokenizer, template=template, cache_dir=root / "cache")


def test_each_directory_is_a_task_of_its_name(root, tokenizer):
    data = folders(paths=[f"{root}/code", f"{root}/tests/"], tasks={"tests": {"weight": 3.0}})
    corpus = load(data, tokenizer, root)
    assert corpus.tasks == ["code", "tests"]
    assert corpus.weights == [1.0, 3.0]
    assert [corpus.train.num_samples(task) for task in (0, 1)] == [19, 19]
    assert "tests" in tokenizer.decode(corpus.valid.sample(1, 0).ids)


def test_a_file_is_a_task_too_and_tasks_may_have_paths_of_their_own(root, tokenizer):
    (root / "odd.jsonl").write_text(json.dumps({"ask": "q", "say": "odd"}) + "\n")
    odd = {"columns": {"prompt": "ask", "answer": "say"}, "format": "prompt_answer"}
    both = {"path": [f"{root}/code", f"{root}/tests"]}
    data = folders(paths=[f"{root}/odd.jsonl"], tasks={"odd": odd, "both": both}, data_split=[1, 0, 0])
    corpus = load(data, tokenizer, root)
    assert corpus.tasks == ["odd", "both"]
    assert [corpus.train.num_samples(task) for task in (0, 1)] == [1, 40]


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("data/code", "code"),
        ("data/code/", "code"),
        ("code.jsonl.gz", "code"),
        ("data/code/**/*.parquet", "code"),
        ("owner/code:validation", "code"),
        ("data/v1.0", "v1.0"),
        ("data/v1.1/", "v1.1"),
        ("v1.0.jsonl", "v1.0"),
        ("data/.hidden", ".hidden"),
    ],
)
def test_tasks_are_named_after_their_paths(path, name):
    assert name_of(path) == name


@pytest.mark.parametrize(
    ("paths", "tasks", "message"),
    [
        ([], {}, r"data.paths=\[my/code,my/tests\]"),
        (["{root}/code", "{root}/other/code"], {}, "two tasks of one name"),
        (["{root}/code"], {"code": {"path": "x"}}, "two tasks of one name"),
        (["{root}/nothing"], {}, "nothing"),
        (["{root}/code"], {"cod": {"weight": 2.0}}, "no task cod; there are code"),
    ],
)
def test_what_cannot_be_is_refused(root, tokenizer, paths, tasks, message):
    with pytest.raises(UserError, match=message):
        load(folders(paths=[path.format(root=root) for path in paths], tasks=tasks), tokenizer, root)
