from copy import deepcopy
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from mftcoder.data.corpus import fingerprint
from mftcoder.template.codefuse import CodeFuse

MARKERS = {"system": "<s>system\n", "user": "<s>human\n", "assistant": "<s>bot\n"}


def template(**changes):
    settings = {"role_markers": MARKERS, "tokenization": "whole", "train_on": "assistant", "sanitize": "escape"}
    return CodeFuse(**(settings | changes))


def test_equal_tokenizers_are_equal_and_others_not(tokenizer):
    copy = deepcopy(tokenizer)
    assert fingerprint.of_tokenizer(copy) == fingerprint.of_tokenizer(tokenizer)
    others = [PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer, eos_token="<s>")]
    for change in (lambda t: t.add_tokens(["new"]), lambda t: setattr(t, "chat_template", "{{ x }}")):
        others.append(deepcopy(tokenizer))
        change(others[-1])
    assert len({fingerprint.of_tokenizer(other) for other in [tokenizer, *others]}) == 4


@pytest.mark.parametrize(
    "changes",
    [
        {"train_on": "all"},
        {"sanitize": "keep"},
        {"role_markers": MARKERS | {"user": "U:"}},
        {"tokenization": "segments"},
    ],
)
def test_every_setting_of_a_template_counts(changes):
    assert fingerprint.of_template(template()) == fingerprint.of_template(template())
    assert fingerprint.of_template(template(**changes)) != fingerprint.of_template(template())


def test_a_file_that_a_template_names_counts_with_its_content(tmp_path):
    named = template()
    named.path = str(tmp_path / "chat.jinja")
    seen = []
    for content in ("a", "b"):
        (tmp_path / "chat.jinja").write_text(content)
        seen.append(fingerprint.of_template(named))
    assert seen[0] != seen[1]


def test_code_counts_with_all_that_it_imports(tmp_path, monkeypatch):
    package = tmp_path / "mftcoder_toy"
    package.mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    (package / "__init__.py").write_text("")
    (package / "a.py").write_text("from mftcoder_toy.b import x\n")
    (package / "b.py").write_text("x = 1\n")
    (package / "c.py").write_text("y = 1\n")
    before = fingerprint.of_code("mftcoder_toy.a")
    (package / "c.py").write_text("y = 2\n")
    assert fingerprint.of_code("mftcoder_toy.a") == before
    (package / "b.py").write_text("x = 2\n")
    assert fingerprint.of_code("mftcoder_toy.a") != before


@pytest.mark.parametrize(
    "form",
    [
        "import mftcoder_toy.b",
        "import mftcoder_toy.b as name",
        "from mftcoder_toy import b",
        "from mftcoder_toy import c, b as name",
        "from mftcoder_toy.b import x",
        "from . import b",
        "from .b import x",
        "def later():\n    from mftcoder_toy import b",
        "from mftcoder_toy.deep.d import y",
    ],
)
def test_every_form_of_import_counts(tmp_path, monkeypatch, form):
    package = tmp_path / "mftcoder_toy"
    (package / "deep").mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path)
    for name in ("__init__", "c", "deep/__init__"):
        (package / f"{name}.py").write_text("")
    (package / "deep" / "d.py").write_text("from .. import b\n")
    (package / "a.py").write_text(form + "\n")
    (package / "b.py").write_text("x = 1\n")
    before = fingerprint.of_code("mftcoder_toy.a")
    assert fingerprint.of_code("mftcoder_toy.a") == before
    (package / "b.py").write_text("x = 2\n")
    assert fingerprint.of_code("mftcoder_toy.a") != before


def test_what_makes_tokens_counts_however_it_is_imported(monkeypatch):
    read = set()
    text_of = Path.read_text
    monkeypatch.setattr(Path, "read_text", lambda path, **how: read.add(path.name) or text_of(path, **how))
    fingerprint.of_code("mftcoder.data.tokens.tokenise")
    assert read >= {"tokenise.py", "encoding.py", "offsets.py", "formats.py", "messages.py", "tables.py", "base.py"}
