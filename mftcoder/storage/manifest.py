"""Files that are whole or absent: durable writes, and directories sealed by a list of SHA-256 hashes."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

MANIFEST = "manifest.json"
ASIDE = ".replaced-"


def write_text(path: Path, text: str) -> None:
    """Replace `path` in one move: a reader, or a crash, sees the old text or the new."""
    staged = path.with_name(f".{path.name}.{os.getpid()}")
    staged.write_text(text, encoding="utf-8")
    sync(staged)
    os.replace(staged, path)
    sync(path.parent)


def sync(path: Path) -> None:
    """Have the operating system put a file's bytes, or a directory's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish(staged: Path, target: Path) -> None:
    """Give a sealed directory its name in one move; one that bore the name before is put aside first."""
    aside = target.with_name(f"{ASIDE}{target.name}")
    if target.exists():
        os.rename(target, aside)
    os.rename(staged, target)
    sync(target.parent)
    if aside.exists():
        remove(aside)


def recover(directory: Path) -> None:
    """After a crash within `publish`: give what was put aside its name back, or drop it where it was replaced."""
    for aside in directory.glob(f"{ASIDE}*"):
        target = aside.with_name(aside.name.removeprefix(ASIDE))
        remove(aside) if target.exists() else os.rename(aside, target)


def remove(directory: Path) -> None:
    """Delete a directory so that no reader takes a half-deleted one for whole: its manifest goes first."""
    (directory / MANIFEST).unlink(missing_ok=True)
    for path in sorted(directory.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    directory.rmdir()


def seal(directory: Path, **facts: Any) -> None:
    """Sync every file and list it with size and hash in a manifest, which carries `facts` and a hash of itself."""
    paths = sorted(p for p in directory.rglob("*") if p.is_file())
    files = {p.relative_to(directory).as_posix(): {"bytes": p.stat().st_size, "sha256": sha256(p)} for p in paths}
    for path in [*paths, *(p for p in directory.rglob("*") if p.is_dir())]:
        sync(path)
    content = {"files": files, **facts}
    write_text(directory / MANIFEST, json.dumps({**content, "sha256": _digest(content)}, indent=1))


def manifest(directory: Path) -> dict[str, Any]:
    """A sealed directory's manifest, its own hash checked. Raises ValueError if it is damaged."""
    content = json.loads((directory / MANIFEST).read_text(encoding="utf-8"))
    if not isinstance(content, dict) or content.pop("sha256", None) != _digest(content):
        raise ValueError("its own hash does not match")
    return content


def faults(directory: Path, *, ignored: str | None = None) -> list[str]:
    """Everything in a sealed directory that is not as it was sealed; nothing means that it is whole.

    ignored: the beginning of the names of files that are not looked at.
    """
    try:
        files = manifest(directory)["files"]
    except (OSError, ValueError) as error:
        return [f"{directory / MANIFEST}: {error}"]
    seen = {name: entry for name, entry in files.items() if ignored is None or not name.startswith(ignored)}
    return [
        f"{directory / name}: {fault}" for name, entry in seen.items() if (fault := _fault(directory / name, entry))
    ]


def sha256(path: Path) -> str:
    """The hash of a file, in hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def _fault(path: Path, entry: dict[str, Any]) -> str | None:
    if not path.is_file():
        return "missing"
    if path.stat().st_size != entry["bytes"]:
        return f"{path.stat().st_size} bytes instead of {entry['bytes']}"
    return None if sha256(path) == entry["sha256"] else "its SHA-256 does not match"


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
