"""Files and directories that appear whole or not at all: written beside their place, synced, renamed in one move."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

STAGED = ".staged-"  # begins the name of what is being written
REPLACED = ".replaced-"  # begins the name of a directory that is about to be deleted, as another takes its place


@contextmanager
def staged(target: Path, *, replace: bool = True) -> Iterator[Path]:
    """A path beside `target`, to be written to as a file or a directory, that becomes `target` at the end of the block.

    Readers see the old content or the new, whenever the process dies. An error in the block, or a full disk, leaves
    `target` as it was and nothing beside it; only SIGKILL or a power failure can leave a staged file (see `clear`).
    Files get the modes that the umask gives, also where a library wrote them as private ones.

    Args:
        target: the final path; the folder that it is in is made where it is missing.
        replace: whether what bears the name already gives way.

    Raises:
        FileExistsError: `target` exists, and replace is false.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    path = target.with_name(f"{STAGED}{os.fsdecode(os.fsencode(target.name)[:200])}-{uuid4().hex[:8]}")
    try:
        yield path
        for written in [path, *path.rglob("*")] if path.is_dir() else [path]:
            _open_up(written)
            sync(written)
        _publish(path, target, replace=replace)
    except BaseException:
        _delete(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Replace the text of `path` in one move."""
    with staged(path) as file:
        file.write_text(text, encoding="utf-8")


def sync(path: Path) -> None:
    """Have the operating system put a file's bytes, or a directory's entries, on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def clear(directory: Path, name: str = "") -> None:
    """Remove what crashes left half-written in `directory`, and give back what was being replaced then.

    Only who holds the directory's lock may call it: another writer's staged files look the same.

    Args:
        directory: the folder of the targets.
        name: the beginning of the targets' names.

    Raises:
        OSError: it may not be removed.
    """
    for replaced in directory.glob(f"{REPLACED}{name}*"):
        target = replaced.with_name(replaced.name.removeprefix(REPLACED))
        _delete(replaced) if target.exists() else os.rename(replaced, target)
    for path in directory.glob(f"{STAGED}{name}*"):
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def _publish(path: Path, target: Path, *, replace: bool) -> None:
    """Rename; a directory that bears the name already is put aside first, for no rename replaces one that has files."""
    if not replace and target.exists():
        raise FileExistsError(f"{target} exists")
    aside = target.with_name(f"{REPLACED}{target.name}") if target.is_dir() else None
    if aside is not None:
        _delete(aside)
        os.rename(target, aside)
    try:
        os.rename(path, target)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        raise FileExistsError(f"{target} exists") from error  # Another process published its own meanwhile.
    sync(target.parent)
    if aside is not None:
        _delete(aside)


def _open_up(path: Path) -> None:
    """Give a file or directory the mode that the umask leaves to new ones."""
    mask = os.umask(
        0o077
    )  # The only portable way to read it is to set it; meanwhile, other threads' files are private.
    os.umask(mask)
    path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)


def _delete(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)
