"""Directories sealed by a list of their files, each with its size and hash: what a reader can tell is whole."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from xxhash import xxh3_128

from mftcoder.system.files import write_text

MANIFEST = "manifest.json"
BLOCK = 1 << 20

Algorithm = Literal["sha256", "xxh3_128"]  # the second is ten times as fast, but can be forged


def seal(directory: Path, *, algorithm: Algorithm = "sha256", **facts: Any) -> dict[str, Any]:
    """List every file of a directory in its manifest, which carries a hash of itself too.

    Args:
        directory: what is sealed; `core.files.staged` syncs it to the disk.
        algorithm: of the files' hashes.
        facts: JSON values that are kept beside the list.

    Returns:
        What the manifest holds.
    """
    paths = sorted(path for path in directory.rglob("*") if path.is_file())
    files = {
        path.relative_to(directory).as_posix(): {"bytes": path.stat().st_size, algorithm: file_hash(path, algorithm)}
        for path in paths
    }
    content = {"files": files, **facts}
    write_text(directory / MANIFEST, json.dumps({**content, "sha256": _digest(content)}, indent=1))
    return content


def read(directory: Path) -> dict[str, Any]:
    """The manifest of a sealed directory.

    Raises:
        OSError: there is none.
        ValueError: it is damaged: no JSON, not what its own hash says, or without a list of files.
    """
    content = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
        raise ValueError(f"its own hash does not match: {content!r:.40}")
    if not isinstance(content.get("files"), dict):
        raise ValueError(f"files: {content.get('files')!r} is no list of files by name")
    return content


def faults(directory: Path, *, ignored: str | None = None) -> list[str]:
    """Everything in a sealed directory that is not as it was sealed, a line each; nothing means that it is whole.

    Args:
        directory: what was sealed.
        ignored: the beginning of the names of files that are not looked at.
    """
    try:
        files = read(directory)["files"]
    except (OSError, ValueError) as error:
        return [f"{directory / MANIFEST}: {error}"]
    checked = {name: entry for name, entry in files.items() if ignored is None or not name.startswith(ignored)}
    return [
        f"{directory / name}: {fault}" for name, entry in checked.items() if (fault := _fault(directory, name, entry))
    ]


def remove(directory: Path) -> None:
    """Delete a sealed directory so that no reader takes a half-deleted one for whole: its manifest goes first."""
    (directory / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(directory)


def file_hash(path: Path, algorithm: Algorithm) -> str:
    """The hash of a file's bytes, in hex."""
    digest = xxh3_128() if algorithm == "xxh3_128" else hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _fault(directory: Path, name: str, entry: Any) -> str | None:
    """What is wrong with one file."""
    algorithm = _algorithm(entry)
    if algorithm is None or Path(name).is_absolute() or ".." in Path(name).parts:
        return f"listed with {entry!r}, which is no size and hash of a file in the directory"
    path = directory / name
    if not path.is_file():
        return "missing"
    if path.stat().st_size != entry["bytes"]:
        return f"{path.stat().st_size} bytes instead of {entry['bytes']}"
    return None if file_hash(path, algorithm) == entry[algorithm] else f"its hash ({algorithm}) does not match"


def _algorithm(entry: Any) -> Algorithm | None:
    """That of an entry's hash; None where it is no entry."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("bytes"), int):
        return None
    known: tuple[Algorithm, ...] = ("sha256", "xxh3_128")
    return next((name for name in known if isinstance(entry.get(name), str)), None)


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
