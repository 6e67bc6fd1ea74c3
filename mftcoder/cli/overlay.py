"""The directory of all configs as one command sees it: ours, the user's own, and what is made for this command."""

from __future__ import annotations

import atexit
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import yaml
from hydra.errors import ConfigCompositionException, MissingConfigException

from mftcoder.cli import config, names
from mftcoder.cli.wrong_overrides import wrong_overrides
from mftcoder.core.errors import ConfigError
from mftcoder.system.run_files import CONFIG

PRESETS = ("experiment", "sweep", "debug")
PLAIN = ("seed", "cache_dir")  # keys of train that other verbs take as they are
HEADER = "# @package _global_\n"


class Parts(NamedTuple):
    """What a root config has: groups, and other keys."""

    groups: list[str]
    keys: list[str]


def parts(conf: Path, verb: str) -> Parts:
    """Groups and other keys of a root config; none where there is no such root."""
    file = conf / f"{verb}.yaml"
    content = _read(file) if file.is_file() else {}
    groups = [str(key) for entry in content.get("defaults", []) if isinstance(entry, dict) for key in entry]
    keys = [str(key) for key in content if key != "defaults" and not str(key).startswith("_")]
    return Parts([group for group in groups if not group.startswith("override ")], keys)


def with_own(conf: Path, own: Path | None) -> Path:
    """`conf` with the user's own choices added to its groups; a choice of the same name is the user's."""
    if own is None:
        return conf
    made = _copy(conf)
    for file in sorted(own.rglob("*.yaml")):
        place = made / file.relative_to(own)
        if place.parent == made:
            continue  # Root configs are ours: a verb is no more than its function.
        _open(place.parent)
        place.unlink(missing_ok=True)
        text = _readable(conf, file) if place.parent == made / "experiment" else None
        if text is None:
            place.symlink_to(file)
        else:
            place.write_text(text, encoding="utf-8")
    return made


def _readable(conf: Path, file: Path) -> str | None:
    """The text of an experiment, None where it cannot be read, which matters only if it is chosen."""
    try:
        return _as_experiment(conf, file, name=None)
    except (ConfigError, yaml.YAMLError):
        return None


def experiment(conf: Path, file: Path) -> tuple[Path, str]:
    """`conf` with a user's file as an experiment, and the name of that choice.

    Raises:
        ConfigError: where the file cannot be read, or is no mapping.
    """
    text = _as_experiment(conf, file, name=file.stem)
    choice = re.sub(r"[^\w.-]", "_", file.stem)
    while (conf / "experiment" / f"{choice}.yaml").exists():
        choice += "_"  # Another experiment has its name.
    made = _copy(conf)
    _open(made / "experiment")
    (made / "experiment" / f"{choice}.yaml").write_text(text, encoding="utf-8")
    return made, choice


def again(conf: Path, verb: str, run: Path, overrides: Iterable[str]) -> Path:
    """`conf` with the configuration of a run in place of a verb's own.

    Groups among the overrides are chosen anew, and lose what the run had in them.

    Raises:
        ConfigError: where the run is one of another verb.
    """
    ran = _read(run / CONFIG)
    if (of := verb_of(run)) != verb:
        raise ConfigError([f"{run}: a run of {of}, not of {verb}; give a run of {verb}"])
    chosen = {_part(word) for word in overrides if (conf / word.lstrip("+").partition("=")[0]).is_dir()}
    chosen |= {"quantization"} if "peft" in chosen else set()
    entries = _read(conf / f"{verb}.yaml")["defaults"]
    free = [entry if _group(entry) in chosen else _as_it_ran(conf, entry, ran) for entry in entries]
    fixed = {key: _escaped(value) for key, value in ran.items() if key not in chosen}
    fixed |= {"resume": "none"} if "resume" in fixed else {}
    made = _copy(conf)
    defaults = [*filter(None, free), {"hydra": "default"}, "_self_"]
    _replace(made / f"{verb}.yaml", {"defaults": defaults, **fixed})
    return made


def _as_it_ran(conf: Path, entry: Any, ran: Mapping[str, Any]) -> dict[str, str] | None:
    """The choice that a run had in a group, for settings that are newer than the run; None where none is found."""
    group = _group(entry)
    part = ran.get(group) if group is not None else None
    target = part.get("_target_") if isinstance(part, dict) else None
    files = sorted((conf / str(group)).glob("*.yaml")) if target else []
    found = next((file.stem for file in files if _read(file).get("_target_") == target), None)
    return None if found is None else {str(group): found}


def verb_of(run: Path) -> str:
    """The verb that a run is of."""
    return str(_read(run / CONFIG).get("_target_")).rpartition(".")[2]


def like_train(conf: Path, verb: str, overrides: list[str]) -> tuple[Path, list[str]]:
    """For a verb that is given what only `train` has (an experiment, say): its groups as `train` would have them.

    Returns:
        `conf` with these values in place of the verb's defaults, and the overrides that are the verb's alone.
        What the verb has no use for is named on standard error.
    """
    train, own = parts(conf, "train"), parts(conf, verb)
    known = {*own.groups, *own.keys, "hydra"}
    foreign = {_part(word) for word in overrides} - known
    if verb == "train" or not own.keys or not foreign & {*train.groups, *train.keys}:
        return conf, overrides
    shared = [group for group in own.groups if group in train.groups and group != "hydra"]
    shared += [key for key in PLAIN if key in own.keys]
    for_train = [word for word in overrides if _part(word) in shared or _part(word) not in known]
    try:
        tree = config.compose(*for_train, config_name="train", config_dir=conf)
    except ConfigCompositionException as error:
        if isinstance(error, MissingConfigException):
            raise
        raise wrong_overrides(conf, "train", for_train, multirun=False) or error from error
    content = _read(conf / f"{verb}.yaml")
    content["defaults"] = [entry for entry in content["defaults"] if _group(entry) not in shared]
    content |= {part: _value(tree, part) for part in shared}
    content |= {key: _value(tree, node)[key] for node in ("data", "training") for key in own.keys if key in tree[node]}
    made = _copy(conf)
    _replace(made / f"{verb}.yaml", content)
    if unused := sorted(foreign - {*PRESETS, "data", "training"}):
        print(f"{verb} has no use for {', '.join(unused)}", file=sys.stderr)
    return made, [word for word in overrides if word not in for_train]


def _value(tree: Any, part: str) -> Any:
    """A part of a composed tree as plain values."""
    from omegaconf import OmegaConf

    value = tree[part]
    return _escaped(OmegaConf.to_container(value, resolve=True)) if OmegaConf.is_config(value) else value


def _as_experiment(conf: Path, file: Path, name: str | None) -> str:
    """The text of an experiment for Hydra: set at the root, with choices by name among its defaults.

    Args:
        conf: where the groups are.
        file: the user's file, in which `model: qwen3`, `data: [a, b]` and `training.max_train_steps: 3` are allowed.
        name: of the runs, where the file gives none.
    """
    from omegaconf import OmegaConf

    try:
        content: Any = OmegaConf.to_container(OmegaConf.load(file), resolve=False)
    except FileNotFoundError:
        raise ConfigError([f"{file}: no such file; give an experiment, as in README.md"]) from None
    if not isinstance(content, dict):
        raise ConfigError([f"{file}: {type(content).__name__} at its top; expected KEY: VALUE lines"])
    given, chosen = list(content.pop("defaults", [])), []
    settings: dict[str, Any] = {} if name is None else {"name": name}
    groups = {path.name for path in conf.iterdir() if path.is_dir()} - {"hydra", *PRESETS}
    for entry in given:
        chosen += _choice(entry, settings)
    for key, value in content.items():
        choices = names.choice(conf, key, value) if key in groups else None
        for part, own in [(key, value)] if choices is None else choices.items():
            if part in groups and choices is not None:
                chosen.append({f"override /{part}": own})
            else:
                _set(settings, part.split("."), own)
    defaults = {"defaults": [*chosen, *([] if "_self_" in chosen else ["_self_"])]}
    return HEADER + yaml.safe_dump({**defaults, **settings}, sort_keys=False, allow_unicode=True)


def _choice(entry: Any, settings: dict[str, Any]) -> list[Any]:
    """An entry of the defaults; `override /model: <a directory or hub id>` becomes model=path and a setting."""
    if isinstance(entry, dict):
        (key, value), *_ = entry.items()
        if re.fullmatch(r"override /?model", str(key)) and isinstance(value, str) and "/" in value:
            _set(settings, ["model", "pretrained_model_path"], value)
            return [{key: "path"}]
        if not str(key).startswith("override "):
            return [{f"override /{str(key).lstrip('/')}": value}]
    return [entry]


def _set(settings: dict[str, Any], keys: list[str], value: Any) -> None:
    *outer, last = keys
    for key in outer:
        settings = settings.setdefault(key, {})
    if isinstance(value, Mapping) and isinstance(settings.get(last), dict):
        settings[last] |= value
    else:
        settings[last] = dict(value) if isinstance(value, Mapping) else value


def _read(file: Path) -> dict[str, Any]:
    return dict(yaml.safe_load(file.read_text(encoding="utf-8")) or {})


def _replace(file: Path, content: Mapping[str, Any]) -> None:
    file.unlink()
    file.write_text(yaml.safe_dump(dict(content), sort_keys=False, allow_unicode=True), encoding="utf-8")


def _copy(conf: Path) -> Path:
    """A directory that looks like `conf`, in which files and groups can be replaced; it goes with this process."""
    made = Path(tempfile.mkdtemp(prefix="mftcoder-conf-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    for entry in conf.iterdir():
        (made / entry.name).symlink_to(entry.resolve())
    return made


def _open(group: Path) -> None:
    """Make a group of a copy a directory of its own."""
    if group.is_symlink():
        files = list(group.resolve().iterdir())
        group.unlink()
        group.mkdir()
        for file in files:
            (group / file.name).symlink_to(file.resolve())
    group.mkdir(parents=True, exist_ok=True)


def _part(override: str) -> str:
    """The part of a configuration that an override is about."""
    return re.split(r"[.=@/]", override.lstrip("+~"), maxsplit=1)[0]


def _group(entry: Any) -> str | None:
    return str(next(iter(entry))) if isinstance(entry, dict) else None


def _escaped(value: Any) -> Any:
    """Plain values, put so that omegaconf takes every text as it is."""
    return _over_texts(value, lambda text: re.sub(r"(\\*)\$\{", r"\1\1\\${", text))


def _over_texts(value: Any, change: Callable[[str], str]) -> Any:
    if isinstance(value, Mapping):
        return {key: _over_texts(inner, change) for key, inner in value.items()}
    if isinstance(value, list):
        return [_over_texts(inner, change) for inner in value]
    return change(value) if isinstance(value, str) else value
