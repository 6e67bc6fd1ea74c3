"""Components that a checkpoint asks for: anybody may have written it, so nothing in it runs code or leads elsewhere.

What is refused here works where it is typed on the command line: `template=jinja template.path=…`, `model=…`, or
`trusted_targets=[package]` for components of one's own.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mftcoder.cli.config import TRUSTED, TRUSTED_TARGETS, build, conf_dir
from mftcoder.cli.schema import PARTIAL, Schema
from mftcoder.core.errors import ConfigError, UserError, raise_faults

PATHS = ("path", "file", "directory")  # keys whose texts are paths; records alone are read wherever they lie
# Of an adapter_config.json: what makes PEFT import a module, or compute a new adapter in place of the saved one.
ADAPTER_FIELDS = ("auto_mapping", "megatron_config", "eva_config", "corda_config", "loftq_config", "arrow_config")


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object that anybody may have written.

    Raises:
        UserError: it is none.
    """
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as JSON: {error}") from error
    if not isinstance(tree, dict):
        raise UserError(f"{path}: holds {tree!r:.60}, and no JSON object")
    return tree


def component(name: str, tree: Any, wanted: Any, *, step: Path, trusted: Sequence[str]) -> Any:
    """The component or value that a checkpoint's configuration describes, built.

    Args:
        name: of the group, such as template; only the targets of its YAML files are imported.
        tree: what the configuration says of it.
        wanted: the annotation of what it must be.
        step: the directory of the checkpoint.
        trusted: packages that the user trusts, from the command line.

    Raises:
        ConfigError: it is something else, or what a checkpoint may not ask for.
    """
    raise_faults(_forbidden(tree, name, step), ConfigError)
    schema = Schema(trusted=TRUSTED, users=trusted, allowed=choices(name))
    try:
        raise_faults(schema.value(tree, name, wanted), ConfigError)
        return build(tree, name)
    except (RecursionError, TypeError, OverflowError) as error:
        raise ConfigError([f"{name}: cannot be built: {error}"]) from error


def choices(group: str) -> frozenset[str]:
    """The targets that the YAML files of a group name."""
    texts = [file.read_text(encoding="utf-8") for file in sorted((conf_dir() / group).glob("*.yaml"))]
    return frozenset(name for text in texts for name in re.findall(r"^\s*_target_:\s*([\w.]+)", text, re.MULTILINE))


def check_adapter(config: Mapping[str, Any]) -> None:
    """Refuse what an adapter's configuration may not ask for.

    Raises:
        ValueError: it asks for a module to be imported, or for an adapter other than the saved one.
    """
    if asked := [name for name in ADAPTER_FIELDS if config.get(name) not in (None, {}, [])]:
        raise ValueError(f"adapter_config.json: {asked[0]}: {config[asked[0]]!r:.60} is not taken from a checkpoint")
    base = config.get("base_model_name_or_path")
    if not isinstance(base, str | None):
        raise ValueError(f"adapter_config.json: base_model_name_or_path: {base!r:.60} is not a name or path")


def _forbidden(node: Any, path: str, step: Path, depth: int = 0) -> Iterator[str]:
    """What no checkpoint may ask for, wherever it stands in its tree."""
    if depth > 20:
        yield f"{path:.60}: is nested too deeply"
        return
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        here = f"{path}[{key}]" if isinstance(node, list) else f"{path}.{key}"
        if key in (PARTIAL, TRUSTED_TARGETS):
            yield f"{here}: {value!r:.60} is not taken from a checkpoint"
        elif key == "trust_remote_code" and value is not False:
            yield f"{here}: {value!r:.60} would run code that the checkpoint names"
        elif key == "attn_implementation" and "/" in str(value):
            yield f"{here}: {value!r:.60} would run a kernel from the hub"
        elif key in PATHS and not here.startswith("data.") and _leads_out(str(value), step):
            yield f"{here}: {value!r:.60} leads out of the checkpoint"
        else:
            yield from _forbidden(value, here, step, depth + 1)


def _leads_out(path: str, step: Path) -> bool:
    """Whether a path is neither in the step nor that of tiny models, of which nothing but the weights is read."""
    try:
        place = Path(path).resolve()
        return not place.is_relative_to(step.resolve()) and not any(place.glob("tiny-*/model.safetensors"))
    except (OSError, ValueError):
        return True
