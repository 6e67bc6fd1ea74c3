"""What a user names as the source of a task, to the files that hold its records."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from glob import glob, has_magic
from pathlib import Path

from mftcoder.core.errors import UserError

KINDS = (".jsonl", ".json", ".parquet", ".arrow", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst")
NOT_RECORDS = {"dataset_info.json", "state.json", "dataset_dict.json"}  # beside the records that `datasets` saves
HUB = re.compile(r"(?P<id>[\w.-]+/[\w.-]+)(:(?P<split>\w+))?")


def files(source: str) -> list[Path]:
    """The files of records that a source names, in the order of their names.

    Args:
        source: a file; a directory, searched with all below it; a pattern as `data/**/*.parquet`; or a data set of the
            hub, `owner/name` or `owner/name:split` (train where no split is given), fetched by the library datasets.

    Raises:
        UserError: there is no such source, or something in it is no file of records.
    """
    path = Path(source).expanduser()
    if path.is_file():
        found = [path]
    elif path.is_dir():
        found = usable(below(path))
    elif has_magic(source):
        found = usable(map(Path, glob(str(path), recursive=True)))
    elif path.exists():
        raise UserError(f"{source}: a pipe, a socket or a device; expected a file or a directory")
    elif ":" not in source and path.parent != Path() and path.parent.is_dir():
        raise UserError(
            f"{source}: not found, though {path.parent} is here; expected a file, a directory, a pattern, or a data "
            "set owner/name (owner/name:train is one of the hub, whatever is here)"
        )
    elif named := HUB.fullmatch(source):
        return fetched(named["id"], named["split"] or "train")
    else:
        raise UserError(f"{source}: not found; expected a file, a directory, a pattern, or a data set owner/name")
    unknown = [path for path in found if not path.name.endswith(KINDS)]
    if unknown or not found:
        what = f"{unknown[0]} is of no known kind" if unknown else f"{source}: no records there"
        raise UserError(f"{what}; expected files of {', '.join(KINDS)}")
    return found


def below(directory: Path) -> Iterator[Path]:
    """All files in a directory and those in it, links included, but no directory twice, as where a link leads back."""
    seen = {os.path.realpath(directory)}
    for folder, folders, names in os.walk(directory, followlinks=True):
        new = {os.path.realpath(os.path.join(folder, name)): name for name in sorted(folders, reverse=True)}
        folders[:] = [name for path, name in new.items() if path not in seen]
        seen |= new.keys()
        yield from (Path(folder, name) for name in names)


def usable(paths: Iterable[Path]) -> list[Path]:
    """Those that may hold records, in the order of their names.

    Raises:
        UserError: one is a link that leads nowhere, or a pipe, a socket or a device, which may never end.
    """
    found = sorted(p for p in paths if p.name.endswith(KINDS) and p.name not in NOT_RECORDS and not p.is_dir())
    if lost := [path for path in found if not path.exists()]:
        raise UserError(f"{lost[0]}: a link to {lost[0].readlink()}, which is not there; mend it, or remove it")
    if odd := [path for path in found if not path.is_file()]:
        raise UserError(f"{odd[0]}: a pipe, a socket or a device; expected a file. Move it elsewhere, or rename it")
    return found


def fetched(name: str, split: str) -> list[Path]:
    """The Arrow files of one split of a data set of the hub."""
    import datasets

    try:
        loaded = datasets.load_dataset(name, split=split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise UserError(f"{name}: neither a path here nor a data set that can be fetched: {error}") from error
    return [Path(file["filename"]) for file in loaded.cache_files]
