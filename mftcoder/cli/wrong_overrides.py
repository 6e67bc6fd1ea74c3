"""All that is wrong with overrides that Hydra does not take, where it stops at the first."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf.errors import OmegaConfBaseException

from mftcoder.cli import config
from mftcoder.core.errors import ConfigError


def wrong_overrides(conf: Path, verb: str, overrides: Sequence[str], *, multirun: bool) -> ConfigError | None:
    """What is wrong with overrides of a verb; None where it is not about their keys, nor about missing brackets.

    Args:
        conf: the directory with all configs.
        verb: the root config.
        overrides: as they were typed.
        multirun: whether they may hold several values each.
    """
    return (None if multirun else _lists(overrides)) or _unknown_keys(conf, verb, overrides)


def _lists(overrides: Sequence[str]) -> ConfigError | None:
    """The fault of lists without brackets, which are the values of a sweep."""
    parser = OverridesParser.create()
    swept = [word.partition("=") for word in overrides if parser.parse_override(word).is_sweep_override()]
    faults = [
        f"{key}={value}: several values; {key}=[{value}] is a list, and with -m each is a run of its own"
        for key, _, value in swept
    ]
    return ConfigError(faults) if faults else None


def _unknown_keys(conf: Path, verb: str, overrides: Sequence[str]) -> ConfigError | None:
    """All faults of overrides that set keys which do not exist."""
    from mftcoder.system.terminal import log_plainly

    log_plainly()  # The check imports what the config names.
    try:
        forced = [_forced(_first_of_sweep(override), conf) for override in overrides]
        config.load(*forced, config_name=verb, config_dir=conf)
    except ConfigError as faults:
        return faults
    except (HydraException, OmegaConfBaseException):
        return None  # It is not about keys.
    return None


def _first_of_sweep(override: str) -> str:
    """An override that sweeps over values, with the first of them alone; any other as it is."""
    parsed = OverridesParser.create().parse_override(override)
    if parsed.is_interval_sweep():
        return f"{parsed.get_key_element()}={parsed.value().start}"  # type: ignore[union-attr]
    if parsed.is_sweep_override():
        return f"{parsed.get_key_element()}={next(parsed.sweep_string_iterator())}"
    return override


def _forced(override: str, conf: Path) -> str:
    """An override that also sets a key that does not exist, so that the check can say all that is wrong."""
    key = override.partition("=")[0]
    is_value = re.fullmatch(r"[\w.]+", key) and not key.startswith("hydra.") and not (conf / key).is_dir()
    return f"++{override}" if is_value else override
