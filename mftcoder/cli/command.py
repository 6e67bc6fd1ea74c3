"""What was typed: a verb, an experiment, Hydra's overrides; and what of it Hydra is to see."""

from __future__ import annotations

import os
import re
from argparse import Namespace
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from mftcoder.cli import config, help_pages, names, overlay
from mftcoder.core.errors import ConfigError, raise_faults
from mftcoder.system.run_files import newest_run
from mftcoder.system.terminal import program

TEXTS = ("prompt", "system")  # keys whose values are what somebody wants to say, in no grammar of ours
YAML = (".yaml", ".yml")


@dataclass(frozen=True)
class Command:
    """What was typed.

    Args:
        verb: the root config, or one of help_pages.PLAIN.
        conf: the directory with all configs, the user's own among them.
        overrides: Hydra's overrides, as it gets them.
        flags: Hydra's options, as it gets them.
        arguments: bare words, of a plain verb.
        answer: what to print instead of running anything.
        asks: Hydra answers a question, and nothing runs.
        multirun: whether several runs were asked for.
        completes: whether a shell asks how to complete a line.
    """

    verb: str
    conf: Path
    overrides: list[str]
    flags: list[str]
    arguments: list[str]
    answer: str | None = None
    asks: bool = False
    multirun: bool = False
    completes: bool = False


def parse(argv: Sequence[str]) -> Command:
    """Read a command line.

    Raises:
        ConfigError: with everything in it that cannot be meant.
    """
    typed = [word for word in argv[1:] if not re.fullmatch(r"--local[-_]rank=\d+", word)]  # deepspeed adds it
    args = _arguments(typed)
    conf = overlay.with_own(_conf(args), _own(args))
    known = {**help_pages.verbs(conf), **help_pages.PLAIN}
    words = [word for word in args.overrides if "=" not in word and not word.startswith("~")]
    overrides = [word for word in args.overrides if word not in words]
    if args.shell_completion:
        words = _take_verb(known)
    verb = args.config_name or (words.pop(0) if words and words[0] in known else "train")
    command = Command(
        verb=verb,
        conf=conf,
        overrides=overrides,
        flags=_flags(args),
        arguments=words,
        asks=bool(args.hydra_help or args.cfg or args.info or args.shell_completion),
        multirun=args.multirun,
        completes=args.shell_completion,
    )
    if args.help or not typed:
        return replace(command, answer=help_pages.page(conf, verb if typed else None, _named(args), words, overrides))
    if verb in ("again", "resume"):
        return _again(command)
    return command if verb in help_pages.PLAIN else _settle(command)


def _arguments(typed: Sequence[str]) -> Namespace:
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    if any(re.match(r"--train[-_]config\b", word) for word in typed):
        raise ConfigError([_of_mftcoder("--train_config")])
    args = parser.parse_intermixed_args(typed)
    if args.experimental_rerun is not None:
        raise ConfigError([f"--experimental-rerun: {args.experimental_rerun!r} would be unpickled, which runs code"])
    if args.package and not args.cfg:
        raise ConfigError([f"--package {args.package}: needs --cfg; {program()} --cfg job -p {args.package} shows it"])
    return args


def _refuse(message: str) -> NoReturn:
    raise ConfigError([f"{message}; {program()} --help lists what there is"])


def _named(args: Namespace) -> bool:
    """Whether a verb was named, so that its own page is wanted."""
    return bool(args.config_name) or bool(args.overrides)


def _conf(args: Namespace) -> Path:
    return Path(args.config_path).resolve() if args.config_path else config.conf_dir()


def _own(args: Namespace) -> Path | None:
    """The user's directory of configs: what --config-dir names, else ./conf where there is one."""
    if args.config_dir:
        if not (own := Path(args.config_dir).resolve()).is_dir():
            raise ConfigError([f"--config-dir: {args.config_dir}: no such directory"])
        return own
    own = Path("conf").resolve()
    return own if own.is_dir() and own not in (_conf(args), config.conf_dir()) else None


def _flags(args: Namespace) -> list[str]:
    """Hydra's options, without those that are answered here."""
    switches = ("hydra_help", "resolve", "run", "multirun", "shell_completion")
    flags = [f"--{name.replace('_', '-')}" for name in switches if getattr(args, name)]
    for name in ("cfg", "package", "info"):
        flags += [f"--{name}", getattr(args, name)] if getattr(args, name) else []
    return flags


def _settle(command: Command) -> Command:
    """The command with its experiment, and with what is short for several overrides, as Hydra understands them."""
    faults = [_not_understood(word, command) for word in command.arguments if not _is_experiment(word)]
    given = [word for word in command.arguments if _is_experiment(word)]
    given += [value for key, value in map(_pair, command.overrides) if key == "experiment" and _is_experiment(value)]
    if len(given) > 1:
        faults.append(f"{', '.join(given)}: {len(given)} experiments; give one, and the rest as KEY=VALUE")
    raise_faults(faults, ConfigError)
    rest = [word for word in command.overrides if _pair(word)[0] != "experiment" or not _is_experiment(_pair(word)[1])]
    overrides = [short for word in rest for short in names.spelled_out(command.conf, word)]
    conf, overrides = command.conf, [word if command.multirun else _literal(word) for word in overrides]
    if given and (run := newest_run(Path(given[0]))) is not None:
        conf = overlay.again(conf, command.verb, run, overrides)
    elif given:
        conf, choice = overlay.experiment(conf, Path(given[0]))
        overrides = [f"experiment={choice}", *overrides]
    conf, overrides = overlay.like_train(conf, command.verb, overrides)
    return replace(command, conf=conf, overrides=overrides, arguments=[])


def _again(command: Command) -> Command:
    """The command that repeats a run, or goes on with it: its directory says of which verb it was."""
    runs = [newest_run(Path(word)) for word in command.arguments]
    if len(runs) != 1 or runs[0] is None:
        given = " ".join([command.verb, *command.arguments])
        raise ConfigError([f"{given}: expected the directory of one run, or one above it; {program()} runs lists them"])
    run, overrides = runs[0], command.overrides
    if command.verb == "resume":
        place = [f"hydra.run.dir='{run}'", "hydra.output_subdir=null", "resume=auto"]
        overrides = [*place, *overrides]
    return _settle(replace(command, verb=overlay.verb_of(run), arguments=[f"{run}{os.path.sep}"], overrides=overrides))


def _pair(override: str) -> tuple[str, str]:
    key, _, value = override.partition("=")
    return key.lstrip("+"), value


def _is_experiment(word: str) -> bool:
    """Whether a word is a file that says what a run is, or the directory of a run."""
    return word.endswith(YAML) or (os.path.sep in word and newest_run(Path(word)) is not None)


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
    words = [word for word in line[1:-1] if word in known][:1]
    os.environ["COMP_LINE"] = " ".join(word for word in line if word not in words and not word.endswith(YAML))
    return words


def _not_understood(word: str, command: Command) -> str:
    if word.endswith(".json"):
        return _of_mftcoder(word)
    known = [*help_pages.verbs(command.conf), *help_pages.PLAIN]
    if (command.conf / word).is_dir():
        return f"{word}: a group; {word}=<choice> chooses, {program()} {word} --help lists the choices"
    if os.path.sep in word:
        return f"{word}: no such file, and no run below it; give an experiment (a .yaml file) or a run's directory"
    return f"{word}: neither KEY=VALUE nor a verb; {names.near(word, known)}verbs: {', '.join(known)}"


def _of_mftcoder(word: str) -> str:
    return (
        f"{word}: MFTCoder's JSON is translated first: {program()} migrate <file>.json > mine.yaml, "
        f"and then {program()} train mine.yaml"
    )
