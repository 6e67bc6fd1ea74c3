"""Where the files of a run are, for those who look for one from outside."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.yaml"  # what ran, resolved
LATEST = "checkpoints/latest"  # names the newest step


def newest_run(path: Path, *, having: str = CONFIG) -> Path | None:
    """The run that a directory is, or the newest of those below it (a run's name, a sweep); None where there is none.

    Args:
        path: a run's directory, or one above it by one level (runs/<name>, a sweep) or two.
        having: what the run must have, a path inside of it.
    """
    if (path / having).is_file():
        return path
    found = [file for depth in ("*", "*/*") for file in path.glob(f"{depth}/{having}")] if path.is_dir() else []
    newest = max(found, key=lambda file: file.stat().st_mtime_ns, default=None)
    return None if newest is None else newest.parents[len(Path(having).parts) - 1]
