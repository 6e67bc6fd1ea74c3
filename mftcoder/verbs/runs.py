"""The verb `runs`: lists runs with what became of them, and deletes those that are named."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path

from rich.table import Table
from rich.text import Text

from mftcoder.core.errors import UserError
from mftcoder.storage import status
from mftcoder.system.terminal import program, table, terminal

ROOT = "runs"
DEEP = ("status.json", "*/status.json", "*/*/status.json", "*/*/*/status.json")


def runs(words: Sequence[str]) -> None:
    """List the runs below some directories (./runs if none is named), or delete those directories.

    Args:
        words: `clean`, perhaps, and directories.

    Raises:
        UserError: where a directory does not exist or holds no run, or nobody is there to confirm.
    """
    clean, named = bool(words[:1] == ["clean"]), [Path(word) for word in words if word != "clean"]
    if missing := [path for path in named if not path.is_dir()]:
        raise UserError("\n".join(f"runs {path}: no such directory" for path in missing))
    if clean and not named:
        raise UserError(f"runs clean: names nothing; {program()} runs clean runs/<name>/<run> …, as the list has them")
    roots = named or [Path(ROOT)]
    found = sorted({run for root in roots for run in _below(root)})
    if not found:
        raise UserError(f"runs {' '.join(map(str, roots))}: no run is there; {program()} train … makes one")
    terminal().print(_table(found))
    if clean:
        _delete(named, found)
    else:
        print(f"next: {program()} report run=RUN, again RUN, evaluate checkpoint=RUN, runs clean RUN")


def size(directory: Path) -> int:
    """Bytes of all files of a directory; a file with several names counts once."""
    files = [file.lstat() for file in directory.rglob("*") if file.is_file() or file.is_symlink()]
    return sum({(stat.st_dev, stat.st_ino): stat.st_size for stat in files}.values())


def _below(root: Path) -> Iterator[Path]:
    for depth in DEEP:
        yield from (file.parent for file in root.glob(depth))


def _table(found: Sequence[Path]) -> Table:
    shown = table("run", "state", "step", "metric", "size", "changed", texts=(0, 1))
    for run in found:
        word = status.read(run)
        assert word is not None, f"{run} was found by its status"
        step = "" if word.step is None else str(word.step)
        metric = "" if word.metric is None else f"{word.metric:.4f}"
        changed = datetime.fromtimestamp((run / status.FILE).stat().st_mtime).strftime("%Y-%m-%d %H:%M")
        shown.add_row(Text(str(run)), word.state, step, metric, f"{size(run) / 1e6:,.1f} MB", changed)
    return shown


def _delete(named: Sequence[Path], found: Sequence[Path]) -> None:
    """Delete directories once somebody at the terminal has said so."""
    if going := [run for run in found if (word := status.read(run)) is not None and word.state == "running"]:
        print(f"still running, or killed: {', '.join(map(str, going))}", file=sys.stderr)
    total = sum(size(path) for path in named)
    question = f"delete {len(found)} runs, {total / 1e6:,.1f} MB, in {', '.join(map(str, named))}? yes/no: "
    try:
        answer = input(question)
    except EOFError:
        raise UserError("runs clean: nobody answered; nothing was deleted (echo yes | … answers)") from None
    if answer.strip().lower() not in ("y", "yes"):
        print("nothing was deleted")
        return
    for path in named:
        shutil.rmtree(path)
    print(f"deleted {len(found)} runs")
