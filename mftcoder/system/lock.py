"""The one kind of lock: a file that a process holds until it ends, however it ends, with a note of who that is."""

from __future__ import annotations

import json
import logging
import os
import socket
from contextlib import suppress
from datetime import datetime, timezone
from errno import ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from mftcoder.system.files import write_text

log = logging.getLogger(__name__)

MODE = 0o664  # whatever the umask: to lock is to write, and a group may share a directory
WITHOUT_LOCKS = (ENOLCK, ENOSYS, ENOTSUP, EOPNOTSUPP)
NOTE = ".owner"


class LockedError(Exception):
    """Another process holds the lock; the text says which, where, and since when."""


class Lock:
    """Holds a file from its making to `release`, or to the end of the process.

    The operating system takes the lock back however a process ends. It reaches other machines over NFS with locking
    (version 4, or 3 with lockd); where a file system has no locks, or the note of a process on another machine was left
    behind, a warning says so. A process that holds a lock may take it again, and holds it until both are released.

    Args:
        path: the file; it stays when the lock is released.
        patience: seconds to wait while another process holds it.

    Raises:
        LockedError: another process holds it.
        OSError: the file cannot be made.
    """

    def __init__(self, path: Path, *, patience: float = 0) -> None:
        self.path = path
        self._note = path.with_name(f"{path.name}{NOTE}")
        self._lock = FileLock(path, mode=MODE, thread_local=False, is_singleton=True)
        try:
            self._lock.acquire(timeout=patience, poll_interval=0.1)
        except Timeout as error:
            raise LockedError(self.owner()) from error
        except (OSError, NotImplementedError) as error:
            if isinstance(error, OSError) and error.errno not in WITHOUT_LOCKS:
                raise
            log.warning("%s: this file system has no locks (%s); start no second run in it meanwhile", path, error)
        self._leave_note()

    def owner(self) -> str:
        """Who holds the lock, as far as its note says."""
        note = _read(self._note)
        if note is None:
            return "another process"
        return f"process {note['process']} on {note['host']}, since {note['since']},"

    def release(self) -> None:
        """Give the lock back."""
        if self._lock.lock_counter <= 1:
            with suppress(OSError):
                self._note.unlink(missing_ok=True)
        self._lock.release()

    def _leave_note(self) -> None:
        """Say who holds it; and that its last owner is on another machine, where it gave no sign of its end."""
        note, here = _read(self._note), socket.gethostname()
        if note is not None and note["host"] != here:
            log.warning(
                "%s: process %s on %s, since %s, has not said that it ended; see that it has, for locks of this file "
                "system may not reach other machines",
                *(self.path.parent, note["process"], note["host"], note["since"]),
            )
        since = datetime.now(timezone.utc).isoformat(timespec="seconds")
        write_text(self._note, json.dumps({"process": os.getpid(), "host": here, "since": since}))


def _read(note: Path) -> dict[str, Any] | None:
    """What a note says; None where there is none, or it is damaged."""
    try:
        found = json.loads(note.read_text(encoding="utf-8"))
        return {name: found[name] for name in ("process", "host", "since")}
    except (OSError, ValueError, KeyError, TypeError):
        return None
