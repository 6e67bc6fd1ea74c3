"""From YAML to objects: compose with Hydra, check against the signatures of all targets, build."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mftcoder.cli.secrets import EXTRA_NAMES
from mftcoder.core.errors import ConfigError, raise_faults

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Hydra, omegaconf and pydantic are imported where they are needed: workers do without Hydra, --help without pydantic.

TRUSTED = ("mftcoder", "torch.optim", "bitsandbytes.optim")
TRUSTED_TARGETS = "trusted_targets"  # the key of a root config under which a user may add to them
RUNTIME = ("run_dir", "config")  # parameters of a verb that the program gives, and never the YAML


@runtime_checkable
class Selective(Protocol):
    """A component that does not go with every other; it need not inherit from this."""

    def conflicts(self, parts: Mapping[str, Any]) -> Iterable[str]:
        """Why it cannot run with `parts`, all built arguments of the verb by name: a sentence each."""


def conf_dir() -> Path:
    """Where the configs are: inside of an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def compose(*overrides: str, config_name: str = "train", config_dir: Path | None = None) -> DictConfig:
    """The config that a command line would give, unchecked."""
    import hydra

    with hydra.initialize_config_dir(str(config_dir or conf_dir()), version_base="1.3"):
        return hydra.compose(config_name, list(overrides))


def load(*overrides: str, config_name: str = "train", config_dir: Path | None = None) -> dict[str, Any]:
    """Compose and check, for notebooks and tests: `load("peft=qlora", "model=codellama")`."""
    return check(compose(*overrides, config_name=config_name, config_dir=config_dir))


def check(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    """The config as plain values, if a verb (or whatever its `_target_` is) can be called with it.

    Raises ConfigError with everything that is wrong: names, types, choices, classes in the wrong place, values that a
    constructor refuses, components that do not go together. Nothing outside of TRUSTED is imported, unless the root's
    `trusted_targets` allows it.
    """
    from mftcoder.cli.names import elsewhere
    from mftcoder.cli.schema import Schema

    tree = _plain(cfg)
    own = tree.get(TRUSTED_TARGETS, [])
    if not isinstance(own, list) or not all(isinstance(name, str) for name in own):
        raise ConfigError([f"{TRUSTED_TARGETS}: {own!r} is not list[str]"])
    if own and (here := os.getcwd()) not in sys.path:
        sys.path.append(here)  # What is trusted may lie where the command was typed.
    meant = partial(elsewhere, tree=tree, conf=conf_dir())
    schema = Schema(trusted=TRUSTED, users=own, absent=RUNTIME, extra=(TRUSTED_TARGETS, EXTRA_NAMES), elsewhere=meant)
    raise_faults(list(schema.component(tree)) or list(_impossible(tree)), ConfigError)
    return tree


def build(tree: Any, path: str = "") -> Any:
    """The objects that a checked tree describes: each `_target_` called (`_partial_`: bound) with its other keys.

    Raises ConfigError, with the path, for what a constructor refuses by a ValueError. (Hydra's own instantiate would
    resolve `${` once more, in the users' texts too, and hide the path.)
    """
    from mftcoder.cli.schema import PARTIAL, TARGET, locate

    if isinstance(tree, list):
        return [build(item, f"{path}[{index}]") for index, item in enumerate(tree)]
    if not isinstance(tree, dict):
        return tree
    children = {k: build(v, f"{path}.{k}" if path else k) for k, v in tree.items() if k not in (TARGET, PARTIAL)}
    if TARGET not in tree:
        return children
    target = locate(tree[TARGET])
    if tree.get(PARTIAL):
        return partial(target, **children)
    try:
        return target(**children)
    except ValueError as error:
        lines = str(error).splitlines()
        raise ConfigError([line if line.startswith(path) else f"{path}: {line}" for line in lines]) from error


def verb(tree: Mapping[str, Any]) -> tuple[Callable[..., float | None], dict[str, Any]]:
    """The function that a checked root config calls, and its arguments, built; those of RUNTIME are the caller's."""
    from mftcoder.cli.schema import locate

    return locate(tree["_target_"]), {name: build(value, name) for name, value in _arguments(tree)}


def _plain(cfg: DictConfig | Mapping[str, Any]) -> dict[str, Any]:
    from omegaconf import DictConfig, OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    if not isinstance(cfg, DictConfig):
        return dict(cfg)
    try:
        return dict(OmegaConf.to_container(cfg, resolve=True))  # type: ignore[arg-type]
    except OmegaConfBaseException as error:
        raise ConfigError([f"{error.full_key}: {str(error.msg).splitlines()[0]}"]) from error


def _arguments(tree: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """What the verb gets; trusted_targets too where it is one of its parameters."""
    from mftcoder.cli.schema import TARGET, locate, settings

    known = settings(locate(tree[TARGET]))
    return ((name, value) for name, value in tree.items() if name in known)


def _impossible(tree: Mapping[str, Any]) -> Iterator[str]:
    """What only the built components know: values that they refuse, and others that they do not go with."""
    parts: dict[str, Any] = {}
    refused = [fault for name, value in _arguments(tree) for fault in _try(parts, name, value)]
    yield from refused
    for name, part in parts.items():
        if not refused and isinstance(part, Selective):
            yield from (f"{name}: {reason}" for reason in part.conflicts(parts))


def _try(parts: dict[str, Any], name: str, value: Any) -> list[str]:
    """Build one part; what it refuses."""
    try:
        parts[name] = build(value, name)
    except ConfigError as error:
        return error.faults
    return _refused_by_optimizer(name, parts[name])


def _refused_by_optimizer(name: str, part: Any) -> list[str]:
    """What an optimizer says to its settings, which it otherwise gets when data and model are loaded."""
    if not isinstance(part, partial):
        return []
    import torch

    if not (isinstance(part.func, type) and issubclass(part.func, torch.optim.Optimizer)):
        return []
    try:
        part([torch.nn.Parameter(torch.zeros(1))])
    except (ValueError, TypeError) as error:
        return [f"{name}: {error}"]
    return []
