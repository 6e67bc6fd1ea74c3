"""A checkpoint is data: whatever stands in its files, nothing is imported, run, written or sent."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import hostile_checkpoints as hostile
import pytest
from saved_runs import SavedRun, save_run

from mftcoder.core.errors import UserError
from mftcoder.storage.restored import find, of_run
from mftcoder.template.base import Template

FUZZED = 200  # bench/fuzz.py takes more


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> SavedRun:
    return save_run(tmp_path_factory.mktemp("run"))


@pytest.fixture
def step(run: SavedRun, tmp_path: Path) -> Path:
    """A copy of a step, whose files a test may change."""
    shutil.copytree(run.directory / "checkpoints" / "step_000002", tmp_path / "evil")
    return tmp_path / "evil"


def change(step: Path, **parts: Any) -> None:
    tree = json.loads((step / "run.json").read_text())
    for path, value in parts.items():
        node = tree
        *keys, last = path.split("__")
        for key in keys:
            node = node[key]
        node[last] = value
    (step / "run.json").write_text(json.dumps(tree))


GADGETS = {
    "a trusted package of its own": (
        {
            "model__trusted_targets": ["posix"],
            "model__dtype": {"_target_": "posix.system", "command": "touch {canary}"},
        },
        "model.trusted_targets: .* is not taken from a checkpoint",
    ),
    "our own function that builds anything": (
        {
            "quantization": {
                "_target_": "mftcoder.cli.config.build",
                "tree": {
                    "_target_": "mftcoder.storage.serialize._decode",
                    "tree": {"$dict": [["_target_", "posix.system"], ["command", "touch {canary}"]]},
                    "tensors": {},
                },
            }
        },
        "quantization._target_: 'mftcoder.cli.config.build' is none of mftcoder.quantization.int8.Int8, mftcoder",
    ),
    "a function that imports": (
        {"template": {"_target_": "mftcoder.cli.schema.locate", "name": "canary.sing"}},
        "template._target_: 'mftcoder.cli.schema.locate' is none of mftcoder.template",
    ),
    "remote code": ({"model__trust_remote_code": True}, "model.trust_remote_code: True would run code that the checkp"),
    "a kernel from the hub": (
        {"model__attn_implementation": "evil/kernel"},
        "model.attn_implementation: 'evil/kernel' would run a kernel from the hub",
    ),
    "a file that export would publish": (
        {
            "template": {
                "_target_": "mftcoder.template.jinja.Jinja",
                "path": "/etc/passwd",
                "variables": {},
                "train_on": "assistant",
                "sanitize": "escape",
            }
        },
        "template.path: '/etc/passwd' leads out of the checkpoint",
    ),
    "a file of the working directory": (
        {"template": {"_target_": "mftcoder.template.jinja.Jinja", "path": ".env"}},
        "template.path: '.env' leads out of the checkpoint",
    ),
    "a directory to be written": (
        {"model__directory": "/tmp/elsewhere-that-is-not"},
        "model.directory: '/tmp/elsewhere-that-is-not' leads out of the checkpoint",
    ),
    "a class in the wrong place": (
        {"template": {"_target_": "mftcoder.quantization.nf4.NF4"}},
        "template._target_: 'mftcoder.quantization.nf4.NF4' is none of",
    ),
    "a component where a value is": (
        {"model__dtype": {"_target_": "mftcoder.model.tiny.Tiny"}},
        "model.dtype",
    ),
    "a partial": ({"template___partial_": True}, "template._partial_: True is not taken from a checkpoint"),
    "a seed of another kind": ({"seed": [1]}, "seed: .* is not int"),
    "a nest": ({"template__x": json.loads("[" * 900 + "]" * 900)}, "template.x.* is nested too deeply"),
    "no tree": ({"template": "chatml"}, "template: 'chatml' is not Template"),
}


@pytest.mark.parametrize("gadget", GADGETS)
def test_a_gadget_is_refused_with_its_place_and_value(step: Path, gadget: str, tmp_path: Path) -> None:
    parts, message = GADGETS[gadget]
    canary = tmp_path / "canary"
    change(step, **json.loads(json.dumps(parts).replace("{canary}", str(canary))))
    with pytest.raises(UserError, match=rf"run.json: {message}"):
        hostile.restore(step)
    assert not canary.exists()


def test_the_remedy_is_typed_and_works(step: Path) -> None:
    change(step, template={"_target_": "toy_template.Toy"})
    with pytest.raises(UserError, match=r"type it: template=<choice>, or trusted_targets=\[<package>\]"):
        hostile.restore(step)
    with pytest.raises(UserError, match=r"'toy_template.Toy' cannot be imported"):  # It is looked for: it is trusted.
        of_run("template", "run", step, Template, trusted=("toy_template",))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", '"x"', "1" * 5000, "[" * 100_000, "\x00"])
def test_a_run_json_that_is_none_is_refused_in_words(step: Path, text: str) -> None:
    (step / "run.json").write_text(text)
    with pytest.raises(UserError, match=r"run.json: (cannot be read as JSON|holds .* no JSON object)"):
        hostile.restore(step)


@pytest.mark.parametrize(
    "changes",
    [
        {"megatron_config": {"x": 1}, "megatron_core": "canary"},
        {"auto_mapping": {"base_model_class": "sing", "parent_library": "canary"}},
        {"base_model_name_or_path": ["x"]},
        {"peft_type": "NO_SUCH"},
        {"r": "many"},
    ],
)
def test_an_adapter_that_asks_for_more_than_its_weights_is_refused(run: SavedRun, step: Path, changes: Any) -> None:
    config = json.loads((step / "adapter_config.json").read_text())
    (step / "adapter_config.json").write_text(json.dumps(config | changes))
    with pytest.raises(UserError, match=r"the adapter in .*evil does not fit"):
        find(str(step), model=run.model(), quantization=None).load(hostile.CPU)


def test_no_mutation_of_a_checkpoint_imports_runs_writes_or_sends_anything(run: SavedRun, tmp_path: Path) -> None:
    found = hostile.fuzz(run, tmp_path / "fuzz", FUZZED, random.Random(0))
    assert found.acts == []
    assert found.crashes == []
    assert found.tried == FUZZED
    assert found.refused > FUZZED / 4
