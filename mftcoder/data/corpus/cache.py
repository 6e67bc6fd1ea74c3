"""Directories that are made once, whoever asks first, and known by the hash of all that went into them."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock
from xxhash import xxh3_128, xxh3_128_hexdigest

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
BLOCK = 1 << 22
LOCK_MODE = 0o664  # whatever the umask: to lock is to write, and a group may share the cache


def cached(cache_dir: Path, kind: str, key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any]]) -> Path:
    """The directory `<cache_dir>/<kind>-<hash of key>`: whole as it was made, or made now by build(directory).

    What build returns is kept in its manifest, with size and hash of every file. Of several processes one builds and
    the others wait. A directory that is not whole (a file missing, cut or changed) is made anew.
    """
    name = f"{kind}-{digest(json.dumps(key, sort_keys=True).encode())}"
    directory = cache_dir / name
    if whole(directory):  # before any lock, for users who may read a shared cache and not write to it
        return directory
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir / f"{name}.lock", mode=LOCK_MODE):
        if not whole(directory):
            _make(directory, key, build)
    return directory


def _make(directory: Path, key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any]]) -> None:
    """Build beside it and rename, in place of what there is."""
    if directory.exists():
        log.warning("%s is damaged, and made anew", directory)
    shutil.rmtree(directory, ignore_errors=True)
    made = directory.with_name(f"{directory.name}.{uuid4().hex}")
    made.mkdir()  # with the rights that the umask leaves, which a temporary directory has not
    try:
        noted = dict(build(made))
        files = {str(path.relative_to(made)): stamp(path) for path in sorted(made.rglob("*")) if path.is_file()}
        (made / MANIFEST).write_text(json.dumps({"key": dict(key), "notes": noted, "files": files}, indent=1))
        made.rename(directory)
    finally:
        shutil.rmtree(made, ignore_errors=True)


def notes(directory: Path) -> Any:
    """What was noted when the directory was made."""
    return json.loads((directory / MANIFEST).read_text())["notes"]


def whole(directory: Path) -> bool:
    """Whether every file is as it was made."""
    try:
        files = json.loads((directory / MANIFEST).read_text())["files"]
        return all(stamp(directory / name, size) == [size, hashed] for name, (size, hashed) in files.items())
    except (OSError, ValueError, KeyError, TypeError):
        return False


def stamp(path: Path, expected: int | None = None) -> list[int | str]:
    """Size and digest of a file; no digest where its size is not the expected one."""
    size = path.stat().st_size
    return [size, file_digest(path) if expected in (None, size) else ""]


def digest(data: bytes) -> str:
    """128 bits of XXH3, in hex: quick, and enough to tell contents apart where nobody forges any."""
    return xxh3_128_hexdigest(data)


def file_digest(path: Path) -> str:
    """The digest of a file's bytes."""
    hashed = xxh3_128()
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    return hashed.hexdigest()
