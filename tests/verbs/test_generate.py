"""The verb generate: one prompt, a file, a conversation, each from a run as it was trained."""

import io
import json

import pytest
import torch
from saved_runs import save_run

from mftcoder.cli import config
from mftcoder.core.dialogue import Dialogue, Turn
from mftcoder.core.errors import ConfigError, UserError
from mftcoder.data.tokens.encoding import encode_prompt
from mftcoder.model.generation import Decoding, complete
from mftcoder.storage.restored import find, of_run
from mftcoder.template.base import Template
from mftcoder.verbs.generate import generate, read_questions


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("run"), "peft=qlora")


def call(run, run_dir, *overrides):
    """The verb as the launcher calls it."""
    settings = (f"checkpoint={run.directory}", "decoding.do_sample=false", "decoding.max_new_tokens=8", *overrides)
    verb, parts = config.verb(config.load(*settings, config_name="generate"))
    assert verb is generate
    return verb(**parts, run_dir=run_dir)


def expected(run, *turns, **changes) -> str:
    """The greedy answer, put together by hand."""
    trained = find(str(run.directory), model="run", quantization="run")
    net, tokenizer = trained.load(torch.device("cpu"))
    template = of_run("template", "run", trained.weights, Template)
    settings = {"max_new_tokens": 8, "do_sample": False, "temperature": 1.0, "top_p": 1.0, "repetition_penalty": 1.0}
    decoding = Decoding(**{**settings, "num_beams": 1, **changes})
    return complete(net, tokenizer, [encode_prompt(Dialogue(turns, "test"), template, tokenizer)], decoding)[0]


def test_a_prompt_is_answered_on_the_terminal(run, tmp_path, capsys):
    call(run, tmp_path, "prompt=sort a list", "system=be brief")
    answer = expected(run, Turn("system", "be brief"), Turn("user", "sort a list"))
    assert capsys.readouterr().out.strip() == answer.strip() != ""


def test_beams_are_shown_at_the_end(run, tmp_path, capsys):
    call(run, tmp_path, "prompt=sort a list", "decoding.num_beams=3")
    assert capsys.readouterr().out.strip() == expected(run, Turn("user", "sort a list"), num_beams=3).strip()


def test_a_file_is_answered_record_by_record(run, tmp_path, capsys):
    records = [
        {"prompt": "one"},
        {"id": 7, "prompt": "two", "system": "S"},
        {"chat_rounds": [{"role": "human", "content": "three"}, {"role": "bot", "content": "the reference"}]},
        {"instruction": "four", "output": "the reference"},
        {"text": "def five("},
    ]
    source = tmp_path / "prompts.jsonl"
    source.write_text("".join(json.dumps(record) + "\n" for record in records))
    call(run, tmp_path, f"prompts={source}", "per_device_eval_batch_size=2")
    lines = [json.loads(line) for line in (tmp_path / "generations.jsonl").read_text().splitlines()]
    assert [{**line, "generated": None} for line in lines] == [{**record, "generated": None} for record in records]
    turns = [[Turn("user", "one")], [Turn("system", "S"), Turn("user", "two")], [Turn("user", "three")]]
    assert [line["generated"] for line in lines[:3]] == [expected(run, *question) for question in turns]
    assert "5 answers in" in capsys.readouterr().out


def test_the_answers_go_where_they_are_wanted(run, tmp_path):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "one"}\n')
    call(run, tmp_path / "run", f"prompts={tmp_path / 'prompts.jsonl'}", f"output={tmp_path / 'deep' / 'out.jsonl'}")
    assert (tmp_path / "deep" / "out.jsonl").read_text().count("\n") == 1


def test_a_conversation_remembers_until_an_empty_line(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("hello\nand then?\n\nhello\n"))
    call(run, tmp_path)
    first = expected(run, Turn("user", "hello"))
    then = expected(run, Turn("user", "hello"), Turn("assistant", first.strip()), Turn("user", "and then?"))
    said = capsys.readouterr().out
    assert said.replace("\n", "") == (first + then + first).replace("\n", "")


def test_the_base_model_answers_without_a_checkpoint(run, tmp_path, capsys):
    places = [f"model.{key}={run.tree['model'][key]}" for key in ("directory", "hidden_size")]
    settings = ["model=tiny", *places, "template=mftcoder", "decoding.max_new_tokens=4"]
    verb, parts = config.verb(config.load(*settings, "prompt=hi", config_name="generate"))
    verb(**parts, run_dir=tmp_path)
    assert capsys.readouterr().out.strip()


def test_draws_follow_the_seed(run, tmp_path, capsys):
    said = []
    for seed in (1, 1, 2):
        call(run, tmp_path, "prompt=hi", "decoding.do_sample=true", "decoding.temperature=2.0", f"seed={seed}")
        said.append(capsys.readouterr().out)
    assert said[0] == said[1] != said[2]


def test_faults_are_refused_together_before_a_model_is_loaded(tmp_path):
    (tmp_path / "prompts.jsonl").touch()
    asked = ("checkpoint=nowhere", f"prompts={tmp_path}/prompts.jsonl")
    cases = {
        (*asked, "prompt=a", "per_device_eval_batch_size=0"): "give one of the two\nper_device_eval_batch_size: 0",
        (*asked, f"output={tmp_path}"): "is a directory; name a file in it",
        (*asked, f"output={tmp_path}/x/../prompts.jsonl"): "the answers would replace the prompts",
        ("checkpoint=nowhere", "prompts=absent.jsonl"): "prompts=absent.jsonl: no such file",
    }
    for overrides, fault in cases.items():
        verb, parts = config.verb(config.load(*overrides, config_name="generate"))
        with pytest.raises(UserError, match=fault):
            verb(**parts, run_dir=tmp_path)


def test_all_unusable_records_are_named(tmp_path):
    source = tmp_path / "prompts.jsonl"
    source.write_text('{"prompt": "fine"}\nnot json\n{"question": "no answer"}\n{"input_ids": [1, 2]}\n')
    with pytest.raises(UserError) as error:
        read_questions(source, None)
    for line, reason in ((2, "not JSON"), (3, "fit no shape"), (4, "holds no question")):
        assert f"{source}:{line}: " in str(error.value)
        assert reason in str(error.value)


def test_impossible_settings_are_refused_before_anything_is_loaded():
    with pytest.raises(ConfigError, match=r"temperature: 0\.0 is not above 0"):
        config.load("decoding.temperature=0.0", config_name="generate")
