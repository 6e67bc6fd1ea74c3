"""MFTCoder's own three configurations, translated: every argument is accounted for, and the result trains."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from mftcoder.cli.command import parse
from mftcoder.cli.config import load, verb
from mftcoder.cli.mftcoder_json import DEFAULTS, left_out, translated
from mftcoder.core.errors import UserError
from mftcoder.verbs.migrate import experiment, migrate

FILES = sorted((Path(__file__).parent / "mftcoder_json").glob("*.json"))


def given(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text()))


def test_all_sixty_arguments_have_a_place_or_a_reason() -> None:
    assert len(DEFAULTS) == 60
    read: set[str] = set()

    class Seen(dict[str, Any]):
        def __getitem__(self, key: str) -> Any:
            read.add(key)
            return super().__getitem__(key)

    from mftcoder.cli import mftcoder_json as table

    for changes in ({}, {"weighted_loss_mode": "coba"}):
        asked = Seen({**DEFAULTS, **changes})
        for section in (table._model, table._data, table._loss, table._optimizer, table._steps):
            list(section(asked))
    assert set(DEFAULTS) - read - set(left_out(DEFAULTS)) == {"quantization"}, "peft_type decided it"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_the_result_composes_and_trains_two_steps(
    file: Path, folders: Path, tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DATA_PATHS", f"[{folders}/add,{folders}/double]")
    monkeypatch.setenv("MODEL_PATH", str(tiny))
    Path("mine.yaml").write_text("\n".join(experiment(file, given(file))))
    short = ("training.max_train_steps=2", "data.data_split=[80,20,0]", "data.seq_length=64", "tracker=[jsonl]")
    on_cpu = ("quantization=none",) if "qlora" in Path("mine.yaml").read_text() else ()
    command = parse(["mftcoder", "train", "mine.yaml", *short, *on_cpu, "training.sample_generations=0"])
    tree = load(*command.overrides, config_dir=command.conf)
    assert (tree["optimizer"]["lr"], tree["scheduler"]["min_lr"], tree["seed"]) == (5e-5, 5e-6, 1234)
    function, parts = verb(tree)
    metric = function(**parts, run_dir=tmp_path / "run", config=tree)
    assert metric is not None
    assert metric > 0
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["step"] == 2


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"weighted_loss_mode": "case1"}, {"balancer": "proportional", "objective.reduction": "token"}),
        ({"weighted_loss_mode": "case4", "task_weights": "[1,2]"}, {"balancer.task_weights": [1.0, 2.0]}),
        ({"weighted_loss_mode": "coba", "per_device_eval_batch_size": 4}, {"balancer.coba_sample_valid_num": 4}),
        ({"peft_type": None}, {"peft": "none"}),
        ({"peft_type": "lora", "quantization": "4bit"}, {"peft": "lora", "quantization": "none"}),
        ({"data_paths": "[a, b]", "data_split": "90/5/5"}, {"data.paths": ["a", "b"], "data.data_split": [90, 5, 5]}),
        ({"data_paths": "$NOWHERE", "output_dir": "out/x/"}, {"data.paths": "???", "name": "x"}),
        ({"tokenize_mode": "pretrain"}, {"template.train_on": "all"}),
        ({"tb_dir": "tb"}, {"tracker": ["console", "jsonl", "tensorboard"]}),
    ],
)  # fmt: skip
def test_a_value_means_what_it_meant(changes: dict[str, Any], expected: dict[str, Any]) -> None:
    found = {setting.key: setting.value for setting in translated(changes)}
    assert {key: found[key] for key in expected} == expected


def test_whatever_changed_its_meaning_has_a_comment() -> None:
    notes = {setting.key: setting.note for setting in translated({"peft_type": "lora", "weighted_loss_mode": "coba"})}
    for key in (
        *("training.gradient_accumulation_steps", "scheduler.num_warmup_steps", "peft.lora_rank", "peft.bias"),
        *(
            "template",
            "balancer.coba_sample_valid_num",
            "data.seq_length",
            "optimizer.weight_decay",
            "scheduler.min_lr",
        ),
    ):
        assert notes[key], key


def test_the_text_is_yaml_with_what_is_gone_and_why(capsys: pytest.CaptureFixture[str]) -> None:
    migrate([str(FILES[0])])
    text = capsys.readouterr().out
    assert yaml.safe_load(text)["data"]["paths"] == "???"
    assert "#   epoch_checkpointing: true: the last step and the best are always saved" in text
    assert max(map(len, text.splitlines())) <= 200


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"lora_rnk": 3}', "lora_rnk: 3: no argument of MFTCoder"),
        ('{"padding_mode": "pad"}', "padding_mode: 'pad' is none of padding, pack, concat"),
        ("[1]", "list at its top; expected a JSON object"),
        ("{", "expected a JSON object"),
    ],
)
def test_what_cannot_be_translated_is_named(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(UserError, match=message):
        migrate([str(tmp_path / "x.json")])
    with pytest.raises(UserError, match="no such file"):
        migrate([str(tmp_path / "y.json")])


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, tokenizer: Any) -> Path:
    from small_models import save_random

    make: Callable[..., Path] = save_random
    return make("llama", tmp_path_factory.mktemp("tiny"), tokenizer)
