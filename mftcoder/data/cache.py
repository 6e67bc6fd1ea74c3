"""Directories that are made once, whoever asks first, and known by the hash of all that went into them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from hashlib import blake2b
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from filelock import FileLock

MANIFEST = "manifest.json"
BLOCK = 1 << 22


def cached(cache_dir: Path, kind: str, key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any]]) -> Path:
    """The directory `<cache_dir>/<kind>-<hash of key>`: whole as it was made, or made now by build(directory).

    What build returns is kept in its manifest, with size and hash of every file. Of several processes one builds and
    the others wait. A directory that is not whole (a file missing, cut or changed) is made anew.
    """
    name = f"{kind}-{digest(json.dumps(key, sort_keys=True).encode())}"
    directory = cache_dir / name
    cache_dir.mkdir(parents=True, exist_ok=True)
    with FileLock(cache_dir / f"{name}.lock"):
        if not whole(directory):
            shutil.rmtree(directory, ignore_errors=True)
            made = Path(mkdtemp(prefix=f"{name}.", dir=cache_dir))
            try:
                noted = dict(build(made))
                files = {str(path.relative_to(made)): stamp(path) for path in sorted(made.rglob("*")) if path.is_file()}
                (made / MANIFEST).write_text(json.dumps({"key": dict(key), "notes": noted, "files": files}, indent=1))
                made.rename(directory)
            finally:
                shutil.rmtree(made, ignore_errors=True)
    return directory


def notes(directory: Path) -> Any:
    """What was noted when the directory was made."""
    return json.loads((directory / MANIFEST).read_text())["notes"]


def whole(directory: Path) -> bool:
    """Whether every file is as it was made."""
    try:
        files = json.loads((directory / MANIFEST).read_text())["files"]
        return all(
            (directory / name).stat().st_size == size and stamp(directory / name) == [size, hashed]
            for name, (size, hashed) in files.items()
        )
    except (OSError, ValueError, KeyError):
        return False


def stamp(path: Path) -> list[int | str]:
    """Size and digest of a file."""
    return [path.stat().st_size, file_digest(path)]


def digest(data: bytes) -> str:
    """128 bits of BLAKE2b, in hex."""
    return blake2b(data, digest_size=16).hexdigest()


def file_digest(path: Path) -> str:
    """The digest of a file's bytes."""
    hashed = blake2b(digest_size=16)
    with path.open("rb") as file:
        while block := file.read(BLOCK):
            hashed.update(block)
    return hashed.hexdigest()
