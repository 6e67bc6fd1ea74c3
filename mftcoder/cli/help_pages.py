"""What --help says: of the command, of a verb, of a group, of a choice. The YAML files are the pages."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import yaml

from mftcoder.cli import names
from mftcoder.core.errors import ConfigError
from mftcoder.system.terminal import program

PLAIN = {
    "again": "Repeat a run with its settings, and changes: again RUN [KEY=VALUE …]",
    "migrate": "Translate MFTCoder's JSON into an experiment: migrate CONFIG.json > mine.yaml",
    "resume": "Go on with a run that was stopped, in its own directory: resume RUN [KEY=VALUE …]",
    "runs": "List runs, or delete them: runs [clean] [DIRECTORY …]",
}
EXAMPLES = {
    "train experiment=quickstart": "a real 135M model learns five tasks, on a laptop",
    "train mine.yaml": "your own experiment; README.md shows one",
    "prepare mine.yaml show=2": "its data as the model will see them",
    "train mine.yaml peft=qlora balancer=famo": "with changes",
    "train model=/my/model data=[code,tests]": "a model and tasks of your own, without a file",
    "train mine.yaml -m optimizer.lr=1e-4,3e-4": "a sweep: every value in a run of its own",
    "train mine.yaml --cfg job": "all settings of a run, without running it",
}
PAGES = """\
  {0} VERB --help            all settings of a verb, each with its comment
  {0} GROUP --help           the choices of a group
  {0} GROUP=CHOICE --help    the settings of a choice
"""


def page(conf: Path, verb: str | None, named: bool, words: Sequence[str], overrides: Sequence[str]) -> str:
    """The page that was asked for.

    Args:
        conf: the directory with all configs.
        verb: the verb, None where nothing was typed.
        named: whether anything was typed beside --help.
        words: bare words after the verb: a group, perhaps.
        overrides: choices of groups, perhaps.
    """
    if verb is None or not named:
        return general(conf)
    for word in words:
        if (conf / word).is_dir():
            return of_group(conf, word)
    if shown := [of_choice(conf, *word.partition("=")[::2]) for word in overrides if _chooses(conf, word)]:
        return "\n".join(shown)
    if unknown := [word for word in words if not word.endswith((".yaml", ".yml")) and not Path(word).exists()]:
        known = [*verbs(conf), *PLAIN, *groups(conf)]
        raise ConfigError([f"{word}: neither a verb nor a group; {names.near(word, known)}" for word in unknown])
    if verb in PLAIN:
        return f"{PLAIN[verb]}\n"
    return of_verb(conf, verb)


def general(conf: Path) -> str:
    """The page of the command."""
    every = {**verbs(conf), **PLAIN}
    listed = [f"  {verb:10} {_without_example(text)}" for verb, text in every.items()]
    choices = [f"  {group:13} {', '.join(_choices(conf, group))}" for group in groups(conf)]
    width = max(map(len, EXAMPLES)) + len(program()) + 2
    examples = [f"  {f'{program()} {words}':{width}} {meaning}" for words, meaning in EXAMPLES.items()]
    paragraphs = [
        "mftcoder trains one model on several tasks at once, exactly and restartably.",
        f"  {program()} VERB [EXPERIMENT.yaml] [GROUP=CHOICE …] [KEY=VALUE …]",
        "\n".join(["Verbs (none means train):", *listed]),
        "\n".join(["Groups and their choices:", *choices]),
        "\n".join(["Examples:", *examples]),
        f"More:\n{PAGES.format(program())}",
        f'eval "$({program()} -sc install=bash)" turns on tab completion; --hydra-help lists Hydra\'s own options.',
    ]
    return "\n\n".join(paragraphs) + "\n"


def verbs(conf: Path) -> dict[str, str]:
    """The verbs, which are the root configs, with the first line of each."""
    files = sorted(conf.glob("*.yaml"), key=lambda file: (file.stem != "train", file.stem))
    return {file.stem: file.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for file in files}


def groups(conf: Path) -> list[str]:
    """The groups, those of `train` first and in its order."""
    train = conf / "train.yaml"
    text = train.read_text(encoding="utf-8") if train.is_file() else ""
    order = re.findall(r"^ +- (\w+):", text, re.MULTILINE)
    found = sorted(path.name for path in conf.iterdir() if path.is_dir() and path.name != "hydra")
    return sorted(found, key=lambda group: order.index(group) if group in order else len(order))


def of_verb(conf: Path, verb: str) -> str:
    """The root config of a verb, with the name of the program in its examples."""
    own = [group for group in groups(conf) if re.search(rf"^ +- {group}:", _text(conf / f"{verb}.yaml"), re.MULTILINE)]
    more = f"# Groups ({program()} GROUP --help): {', '.join(own)}\n" if own else ""
    return _text(conf / f"{verb}.yaml") + more


def of_group(conf: Path, group: str) -> str:
    """The choices of a group, with the first line of each."""
    texts = {name: _text(conf / group / f"{name}.yaml") for name in _choices(conf, group)}
    width = max(map(len, texts), default=0)
    lines = [f"  {group}={name:{width}}  {_first_comment(text)}" for name, text in texts.items()]
    return "\n".join([*lines, f"{program()} {group}=CHOICE --help shows the settings of one.", ""])


def of_choice(conf: Path, group: str, choice: str) -> str:
    """The file of a choice, and those that it inherits from."""
    file = conf / group / f"{choice}.yaml"
    if not file.is_file():
        options = _choices(conf, group)
        near = names.other_choice(group, choice, options)
        raise ConfigError([f"{group}: {choice!r} is not a choice; {near}choices: {', '.join(options)}"])
    text = _text(file)
    return "\n".join([text, *(_inherited(conf / group, name) for name in _bases(text))])


def _inherited(directory: Path, name: str) -> str:
    """A file that another inherits from, as far as it says anything."""
    file = directory / f"{name}.yaml"
    return f"# What {name}.yaml says:\n{_text(file)}" if file.is_file() else ""


def _bases(text: str) -> Iterable[str]:
    defaults = (yaml.safe_load(text) or {}).get("defaults", [])
    return [entry.lstrip("/") for entry in defaults if isinstance(entry, str) and entry != "_self_"]


def _chooses(conf: Path, override: str) -> bool:
    key, _, value = override.partition("=")
    return bool(re.fullmatch(r"\w+", key)) and (conf / key).is_dir() and bool(re.fullmatch(r"[\w.-]+", value))


def _choices(conf: Path, group: str) -> list[str]:
    return sorted(file.stem for file in (conf / group).glob("[!_]*.yaml"))


def _first_comment(text: str) -> str:
    lines = (line for line in text.splitlines() if line.startswith("# ") and not line.startswith("# @package"))
    return next(lines, "# ").lstrip("# ")


def _without_example(text: str) -> str:
    return re.split(r": (?:python launch\.py|mftcoder) ", text)[0]


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8").replace("python launch.py", program())
