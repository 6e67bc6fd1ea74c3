"""The verb `migrate`: MFTCoder's JSON as an experiment, with a comment on whatever changed its meaning."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from mftcoder.cli.mftcoder_json import ABSENT, Setting, left_out, translated
from mftcoder.core.errors import UserError
from mftcoder.system.terminal import program

COLUMN, WIDTH = 44, 120  # where comments begin, and where a line ends at most


def migrate(words: Sequence[str]) -> None:
    """Print the experiment that does what a JSON file of MFTCoder's did.

    Args:
        words: the path of the file.

    Raises:
        UserError: where it is no such file, with all that cannot be translated.
    """
    if len(words) != 1:
        raise UserError(f"migrate {' '.join(words)}: expected one file; {program()} migrate CONFIG.json > mine.yaml")
    file = Path(words[0])
    print("\n".join(experiment(file, _read(file))))


def experiment(file: Path, given: Mapping[str, Any]) -> Iterator[str]:
    """The lines of the experiment.

    Args:
        file: where the configuration was.
        given: the configuration.
    """
    settings = translated(given)
    chosen = [setting for setting in settings if _is_choice(setting)]
    yield f"# {file.name} of MFTCoder, translated. {program()} train <this file> runs it on one process or GPU;"
    yield "# on more: engine=zero2 | zero3 | fsdp2 engine.num_processes=8. What is not said here is as in --cfg job."
    yield "defaults:"
    yield from (_line(f"  - override /{key}", value, note) for key, value, note in chosen)
    yield "  - _self_"
    groups = dict.fromkeys(setting.key.partition(".")[0] for setting in settings)
    for group in groups:
        own = [setting for setting in settings if setting.key.startswith(f"{group}.")]
        plain = [setting for setting in settings if setting.key == group and not _is_choice(setting)]
        yield from (_line(*setting) for setting in plain)
        if own:
            yield f"{group}:"
            yield from (_line(f"  {key.partition('.')[2]}", value, note) for key, value, note in own)
    if gone := left_out(given):
        yield "\n# What has no place here, and why:"
        yield from (f"#   {key}: {json.dumps(given[key])}: {why}" for key, why in gone.items())


def _is_choice(setting: Setting) -> bool:
    return "." not in setting.key and setting.key not in ("seed", "name")


def _line(key: str, value: Any, note: str) -> str:
    text = yaml.safe_dump(value, default_flow_style=True, width=1000).removesuffix("\n...\n").strip()
    if value == ABSENT:
        note = f"a variable that is not set; write the value here{f' ({note})' if note else ''}"
    if not note:
        return f"{key}: {text}"
    line = f"{f'{key}: {text}':{COLUMN}}  # {note}"
    indent = " " * (len(key) - len(key.lstrip()))
    return line if len(line) <= WIDTH else f"{indent}# {note}:\n{key}: {text}"


def _read(file: Path) -> dict[str, Any]:
    try:
        given = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"migrate {file}: no such file; give MFTCoder's JSON configuration") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"migrate {file}: {error}; expected a JSON object") from error
    if not isinstance(given, dict):
        raise UserError(f"migrate {file}: {type(given).__name__} at its top; expected a JSON object")
    return given
