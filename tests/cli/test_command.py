"""What is typed, before Hydra sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from omegaconf import OmegaConf

from mftcoder.cli import config
from mftcoder.cli.command import Command, parse
from mftcoder.cli.messages import plain
from mftcoder.core.errors import ConfigError


def typed(*words: str) -> list[str]:
    return parse(["launch.py", *words]).overrides


def tree(*words: str) -> dict[str, Any]:
    """The configuration that a command line gives, unchecked."""
    command = parse(["mftcoder", *words])
    composed = config.compose(*command.overrides, config_name=command.verb, config_dir=command.conf)
    return OmegaConf.to_container(composed, resolve=True)  # type: ignore[return-value]


def faults(*words: str) -> list[str]:
    """What is wrong with a command line, before anything is built."""
    command: Command | None = None
    with pytest.raises(ConfigError) as caught:  # noqa: PT012 - either of them may find it
        try:
            command = parse(["mftcoder", *words])
            config.load(*command.overrides, config_name=command.verb, config_dir=command.conf)
        except Exception as error:
            raise plain(error, command) from error
    return caught.value.faults


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory, with an experiment in it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.yaml").write_text(
        "model: some/model\nbalancer: famo\ndata: [code, docs]\ndata.seq_length: 256\n"
        "training: {max_train_steps: 3}\noptimizer.lr: 1e-3\n"
    )
    return tmp_path


@pytest.mark.parametrize(
    "text",
    [
        "It's broken",
        "价格是多少",
        "Write f(x) that adds one, please",
        'print("hi")',
        "def f():\n    return 'a'\n",
        "123",
        "true",
        "null",
        "",
        "cost ${price} or \\${price}",
        "C:\\",
        "a\\'b\\\\'",
        "{a: 1} # [2]",
        "'",
        '"',
    ],
)
@pytest.mark.parametrize("key", ["prompt", "system"])
def test_a_text_is_taken_as_it_is(key: str, text: str) -> None:
    composed = config.compose(*typed("generate", f"{key}={text}"), config_name="generate")
    assert OmegaConf.to_container(composed, resolve=True)[key] == text  # type: ignore[index, call-overload]


def test_a_text_in_quotes_is_hydras() -> None:
    assert typed("generate", "prompt='a, b'") == ["prompt='a, b'"]


def test_other_values_and_sweeps_are_hydras() -> None:
    assert typed("name=a,b", "prompts=x") == ["name=a,b", "prompts=x"]
    assert typed("generate", "-m", "prompt=a,b") == ["prompt=a,b"]


def test_an_experiment_is_a_file_with_choices_by_name(place: Path) -> None:
    found = tree("train", "mine.yaml", "training.max_train_steps=5")
    assert found["model"]["pretrained_model_path"] == "some/model"
    assert found["balancer"]["_target_"] == "mftcoder.balancer.famo.FAMO"
    assert found["data"]["paths"] == ["code", "docs"]
    assert (found["data"]["seq_length"], found["training"]["max_train_steps"], found["optimizer"]["lr"]) == (
        256, 5, 1e-3
    )  # fmt: skip
    assert found["name"] == "mine"
    assert tree("mine.yaml") == tree("train", "mine.yaml") == tree("experiment=mine.yaml")


def test_every_verb_takes_the_same_file_and_what_it_knows_of_the_overrides(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = tree("prepare", "mine.yaml", "show=2", "data.seq_length=128", "peft=none")
    assert found["model"]["pretrained_model_path"] == "some/model"
    assert (found["data"]["paths"], found["data"]["seq_length"], found["show"]) == (["code", "docs"], 128, 2)
    assert found["name"] == "prepare"
    assert "peft" not in found
    assert capsys.readouterr().err == "prepare has no use for peft\n"
    assert tree("prepare", "experiment=quickstart")["data"]["seq_length"] == 512


def test_an_own_directory_of_configs_is_found(place: Path) -> None:
    for group in ("experiment", "balancer"):
        (place / "conf" / group).mkdir(parents=True)
    (place / "conf" / "experiment" / "ours.yaml").write_text("balancer: half\nseed: 5\n")
    (place / "conf" / "balancer" / "half.yaml").write_text("# Half.\n_target_: lab.Half\n")
    found = tree("train", "experiment=ours")
    assert (found["seed"], found["balancer"]) == (5, {"_target_": "lab.Half"})
    assert "half" in str(parse(["mftcoder", "--help"]).answer)
    (place / "conf").rename(place / "other")
    assert tree("train", "--config-dir", "other", "experiment=ours") == found
    assert faults("train", "--config-dir", "nowhere") == ["--config-dir: nowhere: no such directory"]


def test_short_forms_are_spelled_out() -> None:
    assert typed("model=Qwen/Qwen3-0.6B") == ["model=path", "model.pretrained_model_path=Qwen/Qwen3-0.6B"]
    assert typed("data=[a,b]") == ["data=folders", "data.paths=[a,b]"]
    assert typed("data=some/dir") == ["data=folders", "data.paths=[some/dir]"]
    assert typed("peft=null", "quantization=null", "tracker=null") == ["peft=none", "quantization=none", "tracker=[]"]
    assert typed("model=qwen3", "tracker=[jsonl]", "resume=null") == ["model=qwen3", "tracker=[jsonl]", "resume=null"]


def write_run(run: Path, *words: str) -> Path:
    run.mkdir(parents=True)
    (run / "config.yaml").write_text(yaml.safe_dump(tree("train", *words)))
    return run


def test_a_run_is_repeated_with_changes(place: Path) -> None:
    run = write_run(place / "runs" / "mine" / "1", "mine.yaml", "peft=qlora", "name=mine")
    same = tree("again", str(run))
    assert same == yaml.safe_load((run / "config.yaml").read_text()) | {"resume": "none"}
    assert tree("train", f"experiment={run}") == tree("again", "runs/mine") == same
    changed = tree("again", str(run), "peft=none", "optimizer.lr=0.5")
    assert (changed["peft"], changed["quantization"], changed["optimizer"]["lr"]) == (None, None, 0.5)
    assert changed["data"] == same["data"]
    assert faults("prepare", str(run)) == [f"{run}: a run of train, not of prepare; give a run of prepare"]
    assert faults("again", "runs/none")[0].startswith("again runs/none: expected the directory of one run, or ")


def test_what_is_newer_than_a_run_has_its_default(place: Path) -> None:
    run = write_run(place / "1", "mine.yaml", "peft.lora_rank=3")
    ran = yaml.safe_load((run / "config.yaml").read_text())
    for part, key in (("peft", "use_dora"), ("data", "limit"), ("model", "dtype")):
        del ran[part][key]
    (run / "config.yaml").write_text(yaml.safe_dump(ran))
    found = tree("again", f"{run}/")
    assert (found["peft"]["use_dora"], found["data"]["limit"], found["model"]["dtype"]) == (False, None, "auto")
    assert found["peft"]["lora_rank"] == 3


def test_a_stopped_run_goes_on_in_its_own_directory(place: Path) -> None:
    run = write_run(place / "runs" / "mine" / "1", "mine.yaml")
    command = parse(["mftcoder", "resume", "runs/mine", "training.max_train_steps=9"])
    assert (command.verb, command.overrides) == (
        "train",
        ["hydra.run.dir='runs/mine/1'", "hydra.output_subdir=null", "resume=auto", "training.max_train_steps=9"],
    )
    assert tree("resume", str(run))["resume"] == "auto"


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        (["-p", "peft"], "--package peft: needs --cfg; "),
        (["--config", "mine.yaml"], "ambiguous option: --config could match "),
        (["--train_config", "a.json"], "--train_config: MFTCoder's JSON is translated first: "),
        (["a.json"], "a.json: MFTCoder's JSON is translated first: "),
        (["peft"], "peft: a group; peft=<choice> chooses, "),
        (["nothere.yaml"], "nothere.yaml: no such file; "),
        (["runs/none"], "runs/none: no such file, and no run below it; "),
        (["mine.yaml", "b.yaml"], "mine.yaml, b.yaml: 2 experiments; give one"),
        (["list.yaml"], "list.yaml: list at its top; expected KEY: VALUE lines"),
        (["data.data_split=98,2,0"], "data.data_split=98,2,0: several values; data.data_split=[98,2,0] is a list"),
        (["prepare", "mine.yaml", "data.limitt=3"], "data.limitt: not a parameter of Folders; did you mean 'limit'?"),
        (["balancer=case3"], "balancer: 'case3' is not a choice; did you mean balancer=equal, or balancer=fixed"),
        (["quantization=8bit"], "quantization: '8bit' is not a choice; did you mean quantization=int8? "),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(place: Path, words: list[str], fault: str) -> None:
    (place / "list.yaml").write_text("- a\n")
    (found,) = faults(*words)
    assert found.startswith(fault)


def test_a_fault_of_yaml_is_named_with_its_line(place: Path) -> None:
    (place / "bad.yaml").write_text("seed: 1\n name: 2\n")
    (found,) = faults("train", "bad.yaml")
    assert found.startswith(f"{place / 'bad.yaml'}:2: mapping values are not allowed here ('name: 2'); ")


def test_a_bare_call_and_help_answer_with_pages(place: Path) -> None:
    def page(*words: str) -> str:
        return str(parse(["mftcoder", *words]).answer)

    assert page() == page("--help")
    assert "migrate    Translate" in page()
    assert "show: 0  " in page("prepare", "--help")
    assert "  peft=qlora  LoRA over a base in 4 bits" in page("peft", "--help")
    assert "lora_rank: 16" in page("peft=qlora", "--help"), "what it inherits is shown too"
    assert "coba_tau: 5 " in page("balancer=coba", "--help")
    assert page("again", "--help").startswith("Repeat a run")
    assert faults("balancers", "--help") == ["balancers: neither a verb nor a group; did you mean 'balancer'? "]


def test_a_made_configuration_leaves_ours_alone(place: Path) -> None:
    before = {file: file.read_bytes() for file in config.conf_dir().rglob("*.yaml")}
    tree("prepare", "mine.yaml")
    tree("again", str(write_run(place / "1")))
    assert {file: file.read_bytes() for file in config.conf_dir().rglob("*.yaml")} == before


def test_texts_of_a_run_are_not_resolved_again(place: Path) -> None:
    run = write_run(place / "1")
    ran = yaml.safe_load((run / "config.yaml").read_text())
    ran["template"]["role_markers"]["user"] = "${seed} \\${x}"
    (run / "config.yaml").write_text(yaml.safe_dump(ran))
    assert tree("again", str(run) + "/")["template"]["role_markers"]["user"] == "${seed} \\${x}"


def test_json_is_not_yaml(place: Path) -> None:
    (place / "x.json").write_text(json.dumps({}))
    assert faults("train", "x.json")[0].startswith("x.json: MFTCoder's JSON")
