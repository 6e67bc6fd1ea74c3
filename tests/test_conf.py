"""Every file under conf/ composes, passes the check and builds; it lists its target's parameters, all and no others."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hydra
import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep
from omegaconf import DictConfig, OmegaConf

from mftcoder.cli import config
from mftcoder.cli.schema import hints, locate, settings
from mftcoder.storage.run_directory import register_resolvers

CONF = config.conf_dir()
PRESETS = ("experiment", "sweep", "debug")
ROOTS = sorted(file.stem for file in CONF.glob("*.yaml"))
FILES = sorted(CONF.rglob("*.yaml"))
IN_GROUPS = [f for f in FILES if f.parent != CONF and f.relative_to(CONF).parts[0] not in (*PRESETS, "hydra")]
BASES = [f for f in IN_GROUPS if f.stem.startswith("_")]  # what choices inherit from, and no choice themselves
ABSENT = [f for f in IN_GROUPS if "mftcoder.model.absent.Absent" in f.read_text()]  # refused, with the reason
CHOICES = [f for f in IN_GROUPS if f not in (*BASES, *ABSENT)]
PRESET_FILES = [f for f in FILES if f.parent.name in PRESETS]


def name(file: Path) -> str:
    return file.relative_to(CONF).with_suffix("").as_posix()


def root_of(group: str) -> str:
    """The first root config, train before all others, whose defaults have a group."""
    for root in sorted(ROOTS, key=lambda root: root != "train"):
        defaults = yaml.safe_load((CONF / f"{root}.yaml").read_text())["defaults"]
        if any(isinstance(entry, dict) and group in entry for entry in defaults):
            return root
    raise AssertionError(f"no root config has the group {group}")


def composed(*overrides: str, root: str = "train") -> DictConfig:
    """The config, with something in place of what only a user can know."""
    cfg = config.compose(*overrides, config_name=root)
    for key in OmegaConf.missing_keys(cfg):
        OmegaConf.update(cfg, key, "given")
    return cfg


def compose_choice(file: Path) -> DictConfig:
    group = file.parent.name
    value = f"[{file.stem}]" if group in ("tracker", "metric") else file.stem
    return composed(f"{group}={value}", root=root_of(group))


def nodes(tree: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_`, with its path."""
    if isinstance(tree, dict):
        if "_target_" in tree:
            yield path, tree
        for key, value in tree.items():
            yield from nodes(value, f"{path}.{key}" if path else key)


def test_all_files_are_seen() -> None:
    assert len(FILES) > 50
    assert {"train", "generate", "evaluate", "export", "prepare"} <= set(ROOTS)
    hydras = [f for f in FILES if f.relative_to(CONF).parts[0] == "hydra"]
    assert len(FILES) == len(ROOTS) + len(BASES) + len(ABSENT) + len(CHOICES) + len(PRESET_FILES) + len(hydras)


@pytest.mark.parametrize("file", CHOICES, ids=name)
def test_a_choice_says_only_how_it_differs_from_its_base(file: Path) -> None:
    own = yaml.safe_load(file.read_text()) or {}
    for base in (entry for entry in own.get("defaults", []) if str(entry).startswith("_") and entry != "_self_"):
        inherited = yaml.safe_load(file.with_name(f"{base}.yaml").read_text())
        assert not [key for key, value in own.items() if key in inherited and inherited[key] == value]


@pytest.mark.parametrize("root", ROOTS)
def test_a_root_is_checked_and_built(root: str) -> None:
    config.check(composed(root=root))


@pytest.mark.parametrize("file", CHOICES, ids=name)
def test_a_choice_is_checked_and_built(file: Path) -> None:
    config.check(compose_choice(file))


@pytest.mark.parametrize("file", [f for f in PRESET_FILES if f.parent.name != "sweep"], ids=name)
def test_a_preset_is_checked_and_built(file: Path) -> None:
    config.check(composed(f"{file.parent.name}={file.stem}"))


@pytest.mark.parametrize("file", [f for f in PRESET_FILES if f.parent.name == "sweep"], ids=name)
def test_every_value_of_a_sweep_is_checked_and_built(file: Path) -> None:
    register_resolvers()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = hydra.compose("train", [f"sweep={file.stem}"], return_hydra_config=True)
    assert cfg.hydra.mode.name == "MULTIRUN"
    assert cfg.hydra.sweeper.params
    for key, values in cfg.hydra.sweeper.params.items():
        override = OverridesParser.create().parse_override(f"{key}={values}")
        swept = override.value()
        ends = (swept.start, swept.end) if isinstance(swept, IntervalSweep) else override.sweep_string_iterator()
        for value in ends:
            config.check(composed(f"{key}={value}"))


@pytest.mark.parametrize("file", [*(CONF / f"{root}.yaml" for root in ROOTS), *CHOICES], ids=name)
def test_the_keys_are_the_parameters_of_the_target(file: Path) -> None:
    root = file.stem if file.parent == CONF else root_of(file.parent.name)
    tree: Any = OmegaConf.to_container(composed(root=root) if file.parent == CONF else compose_choice(file))
    for path, node in nodes(tree):
        target = locate(node["_target_"])
        if not target.__module__.startswith("mftcoder."):
            continue
        absent = config.RUNTIME if path == "" else ()
        keys = {key for key in node if key not in ("_target_", "_partial_")}
        assert keys == set(settings(target)) - set(absent), path
        assert set(settings(target)) <= hints(target).keys(), f"{path}: without types"
        defaults = [p.name for p in settings(target).values() if p.default is not p.empty]
        assert defaults == [], f"{path}: a default belongs in the YAML alone"
        assert node["_target_"] == f"{target.__module__}.{target.__name__}", "one hop to the defining file"


@pytest.mark.parametrize("file", PRESET_FILES, ids=name)
def test_a_preset_says_how_where_and_what_to_expect(file: Path) -> None:
    package, *lines = file.read_text().splitlines()
    header = "\n".join(lines[: next(i for i, line in enumerate(lines) if not line.startswith("#"))])
    assert package == "# @package _global_"
    assert re.search(rf"(?:mftcoder|python launch\.py) .*{file.parent.name}={file.stem}\b", header)
    assert "# Hardware: " in header
    assert "# Expect: " in header


@pytest.mark.parametrize("file", [f for f in FILES if f not in PRESET_FILES], ids=name)
def test_a_file_says_what_it_is_for(file: Path) -> None:
    lines = file.read_text().splitlines()
    assert next(line for line in lines if not line.startswith("# @package")).startswith("# ")


@pytest.mark.parametrize("file", [f for f in (*IN_GROUPS, *map(CONF.joinpath, ROOTS)) if f.stem != "none"], ids=name)
def test_every_key_says_what_it_does(file: Path) -> None:
    parent = ""
    for line in file.with_suffix(".yaml").read_text().splitlines():
        key = re.match(r"( *)(?!_target_|_partial_|defaults)\w+: *[^\s#]", line)
        parent = parent if line.startswith(" ") else line
        assert key is None or "#" in line or (key[1] and "#" in parent), line


def test_peft_and_quantization_follow_one_another() -> None:
    def targets(*overrides: str) -> tuple[str | None, str | None]:
        cfg = composed(*overrides)
        return tuple(cfg[group] and cfg[group]._target_.rpartition(".")[2] for group in ("peft", "quantization"))  # type: ignore[return-value]

    assert targets() == ("LoRA", None)
    assert targets("peft=none") == (None, None)
    assert targets("peft=qlora") == ("LoRA", "NF4")
    assert targets("peft=qlora", "quantization=int8") == ("LoRA", "Int8")
    assert targets("quantization=nf4") == ("LoRA", "NF4")


def test_trackers_are_chosen_by_name() -> None:
    assert set(composed("tracker=[jsonl,wandb]").tracker) == {"jsonl", "wandb"}
    assert config.check(composed("tracker=[]"))["tracker"] == {}
