import pytest
import yaml
from library import make_library

from mftcoder.cli.config import conf_dir
from mftcoder.core.errors import UserError
from mftcoder.data import stdlib
from mftcoder.data.exercises.tasks import TASKS
from mftcoder.data.stdlib import Stdlib
from mftcoder.template.codefuse import CodeFuse

MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}


def settings(**changes):
    values = yaml.safe_load((conf_dir() / "data" / "stdlib.yaml").read_text())
    assert values.pop("_target_") == "mftcoder.data.stdlib.Stdlib"
    return values | changes


@pytest.fixture
def library(tmp_path, monkeypatch):
    made = make_library(tmp_path / "library")
    monkeypatch.setattr(stdlib.sysconfig, "get_path", lambda name: str(made) if name == "stdlib" else None)
    return made


def test_the_preset_names_every_task():
    assert tuple(settings()["tasks"]) == TASKS


def test_the_corpus_is_cut_once_and_loaded(library, tmp_path, tokenizer, monkeypatch):
    data = Stdlib(**settings(seq_length=1000, data_split=[1, 0, 0]))
    template = CodeFuse(role_markers=MARKERS, tokenization="whole", train_on="assistant", sanitize="escape")
    corpus = data.load(tokenizer=tokenizer, template=template, cache_dir=tmp_path / "cache")
    assert tuple(corpus.tasks) == TASKS
    assert [corpus.train.num_samples(task) for task in range(5)] == [2, 4, 1, 2, 1]
    sample = corpus.train.sample(4, 0)
    assert tokenizer.decode(sample.ids[sample.supervised]).startswith("The name of the shape, in lower case")
    monkeypatch.setattr("mftcoder.data.exercises.cutting.functions", lambda _: pytest.fail("cut again"))
    data.load(tokenizer=tokenizer, template=template, cache_dir=tmp_path / "cache")


def test_some_tasks_may_be_left_out(library, tmp_path):
    tasks = {"bug_repair": {"weight": 2.0}}
    assert list(Stdlib(**settings(tasks=tasks)).sources(tmp_path)) == ["bug_repair"]


@pytest.mark.parametrize("tasks", [{"poetry": {}}, {"bug_repair": {"path": "x"}}])
def test_other_tasks_are_refused(tmp_path, tasks):
    with pytest.raises(UserError, match="there are bug_repair, text_to_code"):
        Stdlib(**settings(tasks=tasks)).sources(tmp_path)
