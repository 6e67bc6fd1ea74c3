"""The command line: a verb, Hydra's overrides, and errors that say what to do."""

from __future__ import annotations

import os
import re
import sys
import traceback
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from mftcoder.cli import config
from mftcoder.core.errors import ConfigError, Preempted, Refused, UserError, WorkerError
from mftcoder.storage.run_directory import register_resolvers

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Nothing here may import torch: --help, --cfg and completion answer at once.

TEXTS = ("prompt", "system")  # keys whose values are what somebody wants to say, in no grammar of ours
Task = Callable[["DictConfig"], "float | None"]


@dataclass(frozen=True)
class Command:
    """What was typed. asks: Hydra answers a question, and nothing runs."""

    verb: str
    conf: Path
    overrides: list[str]
    multirun: bool
    asks: bool


def main() -> NoReturn:
    """Run what was typed; exit with 0, 1 (failed), 2 (configuration), 85 (stopped with a checkpoint), 130 (Ctrl-C)."""
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors, which become messages here.
    command, code, together = None, 0, False
    try:
        command = parse(sys.argv)
        run(command)
        together = True
    except Preempted as stop:
        print(stop.message, file=sys.stderr)
        code, together = stop.CODE, stop.together
    except KeyboardInterrupt:
        code = 130
    except (Exception, Refused) as error:
        code = explain(plain(error, command), full=full)
    if "WORLD_SIZE" in os.environ:
        from mftcoder.launch.worker import leave

        leave(code, together=together)
    sys.exit(code)


def parse(argv: list[str]) -> Command:
    """Read a command line, and leave in `argv` what Hydra is to see of it."""
    argv[1:] = [word for word in argv[1:] if not re.fullmatch(r"--local[-_]rank=\d+", word)]  # deepspeed adds it
    args = get_args_parser().parse_intermixed_args(argv[1:])
    if args.experimental_rerun is not None:
        raise ConfigError([f"--experimental-rerun: {args.experimental_rerun!r} would be unpickled, which runs code"])
    conf = Path(args.config_path).resolve() if args.config_path else config.conf_dir()
    known = verbs(conf)
    words = [word for word in args.overrides if "=" not in word and not word.startswith("~")]
    if wrong := [word for word in words if word != words[0] or word not in known]:
        raise ConfigError([_not_a_verb(word, known) for word in wrong])
    overrides = [word if args.multirun else _literal(word) for word in args.overrides if word not in words]
    argv[1:] = [word for word in argv[1:] if word not in args.overrides] + overrides
    if args.shell_completion:
        words = _take_verb(known)
    return Command(
        verb=args.config_name or (words or ["train"])[0],
        conf=conf,
        overrides=overrides,
        multirun=args.multirun,
        asks=bool(args.help or args.hydra_help or args.cfg or args.info or args.shell_completion),
    )


def _literal(override: str) -> str:
    """A text that is not in quotes, put so that Hydra and omegaconf take every character as it is."""
    key, _, value = override.partition("=")
    if key not in TEXTS or re.fullmatch(r"(['\"]).*\1", value, re.DOTALL):
        return override
    text = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # A backslash counts before an interpolation, a quote, and the end.
    text = re.sub(r"(\\*)'", r"\1\1\\'", text)
    text = re.sub(r"(\\*)$", r"\1\1", text, count=1)
    return f"{key}='{text}'"


def _take_verb(known: Iterable[str]) -> list[str]:
    """The verb in the line that a shell wants to have completed, where Hydra would not understand it."""
    line = os.environ.get("COMP_LINE", "").split(" ")
    words = [word for word in line if word in known][:1]
    os.environ["COMP_LINE"] = " ".join(word for word in line if word not in words)
    return words


def verbs(conf: Path) -> dict[str, str]:
    """The verbs, which are the root configs, with the first line of each."""
    files = sorted(conf.glob("*.yaml"), key=lambda file: (file.stem != "train", file.stem))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for file in files}


def run(command: Command) -> None:
    """Have Hydra do what the command says, in this process or in the others that a launcher started with it."""
    if command.asks:
        return _hydra(command, lambda cfg: None)
    from mftcoder.launch import world
    from mftcoder.launch.launcher import task

    others = world.find(os.environ)
    if others is None:
        return _hydra(command, task)
    if command.multirun:
        raise ConfigError(
            [f"--multirun: {others.launcher} has started {others.size} processes; sweeps start their own"]
        )
    meeting = world.Meeting.of(others)
    if others.rank > 0:
        from mftcoder.launch.worker import work

        message = meeting.receive()
        work(message["tree"], Path(message["run_dir"]))
        return None
    try:
        return _hydra(command, lambda cfg: task(cfg, meeting))
    except (Exception, Refused) as error:
        if not meeting.handed:
            meeting.hand_error(plain(error, command))
        raise


def _hydra(command: Command, task: Task) -> None:
    register_resolvers()
    listed = "\n".join(f"  {verb:10} {text}" for verb, text in verbs(command.conf).items())
    OmegaConf.register_new_resolver("verbs", lambda: listed, replace=True)
    hydra.main(version_base="1.3", config_path=str(command.conf), config_name=command.verb)(task)()


def explain(error: BaseException, *, full: bool) -> int:
    """Say what went wrong, without a traceback where the words are enough; the exit code."""
    if full or not isinstance(error, UserError | WorkerError):
        traceback.print_exception(error)
    else:
        print(error, file=sys.stderr)
    return 2 if isinstance(error, ConfigError) else 1


def plain(error: BaseException, command: Command | None) -> BaseException:
    """The error itself, or a ConfigError that says what Hydra or omegaconf mean by it."""
    if isinstance(error, Refused):
        return error.error
    if isinstance(error, ConfigCompositionException) and command is not None and (faults := _unknown_keys(command)):
        return faults
    if isinstance(error, HydraException | OmegaConfBaseException):
        return ConfigError([_in_words(error, command.verb if command else "train")])
    return error


def _in_words(error: HydraException | OmegaConfBaseException, verb: str) -> str:
    if isinstance(error, MissingConfigException) and error.missing_cfg_file and error.options:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}: {choice!r} is not a choice; {_near(choice, error.options)}choices: {', '.join(error.options)}"
    if isinstance(error, OverrideParseException):
        reason = error.message.splitlines()[0]
        return f"{error.override}: {reason}; texts go in quotes twice over, as in 'key=\"a (b), c\"'"
    if part := re.match(r"Could not override '([\w/]+)'", str(error)):
        return f"{part[1]}: no part of {verb}; launch.py {verb} --cfg job shows its parts"
    return f"{error}{f' ({error.__cause__})' if error.__cause__ else ''}"


def _unknown_keys(command: Command) -> ConfigError | None:
    """All faults of a command that sets keys which do not exist, where Hydra stops at the first."""
    from mftcoder.core.terminal import log_plainly

    log_plainly()  # The check imports what the config names.
    try:
        forced = [_forced(_first_of_sweep(override), command.conf) for override in command.overrides]
        config.load(*forced, config_name=command.verb, config_dir=command.conf)
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


def _not_a_verb(word: str, known: Iterable[str]) -> str:
    return f"{word}: neither KEY=VALUE nor a verb; {_near(word, known)}verbs: {', '.join(known)}"


def _near(word: str, options: Iterable[str]) -> str:
    near = get_close_matches(word, list(options), n=1)
    return f"did you mean {near[0]!r}? " if near else ""


if __name__ == "__main__":
    main()
