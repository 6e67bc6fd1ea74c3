"""Directories that are made once, whoever asks first, and known by the hash of all that went into them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock
from xxhash import xxh3_128_hexdigest

from mftcoder.core import files, manifest

log = logging.getLogger(__name__)

HASHED: manifest.Algorithm = "xxh3_128"  # of files and keys: quick, and here nobody forges any
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
    """Build beside it, in place of what there is; no other process does, for this one has the lock."""
    if directory.exists():
        log.warning("%s is damaged, and made anew", directory)
    files.clear(directory.parent, directory.name)
    with files.staged(directory) as made:
        made.mkdir()
        noted = dict(build(made))
        manifest.seal(made, algorithm=HASHED, key=dict(key), notes=noted)


def notes(directory: Path) -> Any:
    """What was noted when the directory was made."""
    return manifest.read(directory)["notes"]


def digests(directory: Path) -> dict[str, str]:
    """The digest of every file in a directory of the cache, by name, as noted when it was made."""
    return {name: entry[HASHED] for name, entry in manifest.read(directory)["files"].items()}


def whole(directory: Path) -> bool:
    """Whether every file is as it was made."""
    return not manifest.faults(directory)


def digest(data: bytes) -> str:
    """128 bits of XXH3, in hex: quick, and enough to tell contents apart where nobody forges any."""
    return xxh3_128_hexdigest(data)


def file_digest(path: Path) -> str:
    """The digest of a file's bytes."""
    return manifest.file_hash(path, HASHED)
