"""Directories that are made once, whoever asks first, and known by the hash of all that went into them."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from xxhash import xxh3_128_hexdigest

from mftcoder.core.errors import UserError
from mftcoder.system import files, manifest

log = logging.getLogger(__name__)

HASHED: manifest.Algorithm = "xxh3_128"  # of files and keys: quick, and here nobody forges any
FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_WRITABLE = (errno.EROFS, errno.EACCES, errno.EPERM, errno.EEXIST, errno.ENOTDIR)
LOCK_MODE = 0o664  # whatever the umask: to lock is to write, and a group may share the cache


def cached(
    cache_dir: Path,
    kind: str,
    key: Mapping[str, Any],
    build: Callable[[Path], Mapping[str, Any]],
    *,
    holds: Collection[str] = (),
) -> Path:
    """The directory `<cache_dir>/<kind>-<hash of key>`: whole as it was made, or made now.

    Of several processes one builds and the others wait. A directory that is not whole (a file missing, cut or
    changed) is made anew. An interrupted build leaves nothing, or what the next one for the same key removes.

    Args:
        cache_dir: where the cache is.
        kind: beginning of the name.
        key: everything that decides the content.
        build: writes into the directory that it is given; what it returns is kept as the notes.
        holds: files without which no directory is whole.

    Raises:
        UserError: the cache cannot be written to.
    """
    name = f"{kind}-{digest(json.dumps(key, sort_keys=True).encode())}"
    directory = cache_dir / name
    if whole(directory, holds):  # before any lock, for users who may read a shared cache and not write to it
        return directory
    with _told(cache_dir):
        cache_dir.mkdir(parents=True, exist_ok=True)
        with FileLock(cache_dir / f"{name}.lock", mode=LOCK_MODE):
            if not whole(directory, holds):
                _make(directory, key, build)
    return directory


@contextmanager
def _told(cache_dir: Path) -> Iterator[None]:
    """Says in one sentence that the disk of the cache is full, or not to be written to."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise UserError(
                f"cache_dir={cache_dir}: the disk is full ({error.strerror or error}); free some, or take another "
                "cache_dir. Nothing half-made is left there"
            ) from error
        if error.errno in NOT_WRITABLE and str(cache_dir) in str(error):
            raise UserError(
                f"cache_dir={cache_dir}: cannot be written to ({error.strerror or error}), and does not hold what this "
                "run needs; take another cache_dir"
            ) from error
        raise


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


def whole(directory: Path, holds: Collection[str] = ()) -> bool:
    """Whether every file is as it was made, and those of `holds` are among them."""
    return not manifest.faults(directory) and digests(directory).keys() >= set(holds)


def digest(data: bytes) -> str:
    """128 bits of XXH3, in hex: quick, and enough to tell contents apart where nobody forges any."""
    return xxh3_128_hexdigest(data)


def file_digest(path: Path) -> str:
    """The digest of a file's bytes."""
    return manifest.file_hash(path, HASHED)
