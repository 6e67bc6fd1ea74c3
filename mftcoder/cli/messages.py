"""What went wrong, in the words of somebody who can mend it: errors of Hydra, omegaconf, YAML and the system."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf.errors import OmegaConfBaseException

from mftcoder.cli import names
from mftcoder.cli.command import Command
from mftcoder.cli.config import conf_dir
from mftcoder.cli.wrong_overrides import wrong_overrides
from mftcoder.core.errors import ConfigError, Refused, UserError, WorkerError
from mftcoder.system.terminal import program

Message = Callable[[Any, Command | None], str]


def explain(error: BaseException, *, full: bool) -> int:
    """Say what went wrong, without a traceback where the words are enough; the exit code."""
    if full or not isinstance(error, UserError | WorkerError):
        traceback.print_exception(error)
    else:
        print(error, file=sys.stderr)
    return 2 if isinstance(error, ConfigError) else 1


def plain(error: BaseException, command: Command | None) -> BaseException:
    """The error itself, or a ConfigError that says what Hydra, omegaconf or YAML mean by it."""
    if isinstance(error, Refused):
        return error.error
    if isinstance(error, ConfigCompositionException) and command is not None:
        words = command.overrides
        if faults := wrong_overrides(command.conf, command.verb, words, multirun=command.multirun):
            return faults
    if isinstance(error, OSError) and _of_hydra(error):
        place = error.filename or "hydra.run.dir"
        return ConfigError([f"hydra.run.dir: {place!s:.200}: {error.strerror}; name a directory that can be made"])
    message = next((message for kind, message in MESSAGES.items() if isinstance(error, kind)), None)
    return error if message is None else ConfigError([message(error, command)])


def _of_hydra(error: OSError) -> bool:
    """Whether Hydra raised it as it made the directory of a run: a file lies in the way, or its name is too long."""
    frames = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = [file for file in frames if "/mftcoder/" in file or "/hydra/" in file or "/omegaconf/" in file]
    return bool(ours) and ours[-1].endswith(("hydra/core/utils.py", "basic_launcher.py", "storage/run_directory.py"))


def _missing(error: MissingConfigException, command: Command | None) -> str:
    group, _, choice = (error.missing_cfg_file or "").rpartition("/")
    conf = command.conf if command else conf_dir()  # Of a list, as tracker=[x], Hydra does not say the choices.
    found = error.options or sorted(file.stem for file in (conf / group).glob("*.yaml") if group)
    if not (options := [option for option in found if not option.startswith("_")]):
        return _any(error, command)
    near = names.other_choice(group, choice, options)
    return f"{group}: {choice!r} is not a choice; {near}choices: {', '.join(options)}"


def _not_parsed(error: OverrideParseException, command: Command | None) -> str:
    reason = error.message.splitlines()[0]
    return f"{error.override}: {reason}; texts go in quotes twice over, as in 'key=\"a (b), c\"'"


def _any(error: BaseException, command: Command | None) -> str:
    verb = command.verb if command else "train"
    if part := re.match(r"Could not override '([\w/]+)'", str(error)):
        return f"{part[1]}: no part of {verb}; {program()} {verb} --cfg job shows its parts"
    if inside := _yaml_error(error):
        return _of_yaml(inside, command)
    return f"{error}{f' ({error.__cause__})' if error.__cause__ else ''}"


def _of_yaml(error: yaml.YAMLError, command: Command | None) -> str:
    """File, line, and what is wrong there."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = "the YAML file" if mark is None else f"{Path(mark.name).resolve()}:{mark.line + 1}"
    line = _line_of(mark)
    reason = getattr(error, "problem", None) or str(error).splitlines()[0]
    return f"{where}: {reason}{line}; entries of one level begin in the same column, and `key: value` has a space"


def _line_of(mark: Any) -> str:
    file = None if mark is None else Path(mark.name)
    if file is None or not file.is_file():
        return ""
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    return f" ({lines[mark.line].strip()!r})" if mark.line < len(lines) else " (at its end)"


def _yaml_error(error: BaseException) -> yaml.YAMLError | None:
    """The error of a YAML file that led to another."""
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, yaml.YAMLError):
        seen = seen.__cause__ or seen.__context__
    return seen


MESSAGES: dict[type[BaseException], Message] = {
    MissingConfigException: _missing,
    OverrideParseException: _not_parsed,
    HydraException: _any,
    OmegaConfBaseException: _any,
    yaml.YAMLError: _of_yaml,
}
