"""Runs a verb in this process: called by the launcher, or started by it (`python -m mftcoder.launch.worker`)."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Mapping
from errno import EDQUOT, ENOSPC
from pathlib import Path
from typing import Any, NoReturn

from mftcoder.cli import config, secrets
from mftcoder.cli.schema import settings
from mftcoder.core.errors import DiskFullError, Preempted, UserError
from mftcoder.report.draw import FILE, draw
from mftcoder.report.record import METRICS
from mftcoder.storage import resumption, run_directory, status
from mftcoder.system.signals import ending_at_once, ignoring
from mftcoder.system.streams import make_streams_last
from mftcoder.system.terminal import log_plainly

log = logging.getLogger(__name__)

PR_SET_PDEATHSIG = 1


def work(tree: Mapping[str, Any], run_dir: Path) -> float | None:
    """Build the parts of a checked config, call its verb, and note in status.json what became of it.

    Returns what the verb returns, and raises what it raises.
    """
    rank = int(os.environ.get("RANK", "0"))
    log_plainly(logging.INFO if rank == 0 else logging.WARNING)
    try:
        with ending_at_once():
            verb, parts = config.verb(tree)
            given = {"run_dir": run_dir, "config": secrets.masked(tree)}
            metric = verb(**parts, **{name: given[name] for name in config.RUNTIME if name in settings(verb)})
    except Preempted as stop:
        if not stop.saved and (step := resumption.saved(run_dir)) is not None:
            stop.saved, stop.code = True, stop.CODE
            stop.message = f"{stop.message}; {step} of an earlier start is there"
        if rank == 0:
            with ignoring():
                status.update(run_dir, state="preempted", reason=stop.message)
        raise
    except BaseException as error:
        kind = "" if isinstance(error, UserError) else f"{type(error).__name__}: "
        status.fail(run_dir, reason=secrets.scrub(f"{kind}{error}", secrets.values(tree)), rank=rank)
        if isinstance(error, OSError) and error.errno in (ENOSPC, EDQUOT):
            place = error.filename or run_dir
            raise DiskFullError(f"{place}: the disk is full ({error}); make room, and resume") from error
        raise
    else:
        if rank == 0:
            status.update(run_dir, state="completed", metric=metric)
        return metric
    finally:
        if rank == 0:
            with ignoring():
                _draw(run_dir)


def _draw(run_dir: Path) -> None:
    """The report of what was logged; should it fail, the run is what it is all the same."""
    if not (run_dir / METRICS).is_file():
        return
    try:
        draw(run_dir)
    except Exception as error:
        log.warning("%s could not be drawn: %s", run_dir / FILE, error, exc_info=not isinstance(error, OSError))


def leave(code: int, *, together: bool) -> NoReturn:
    """End this process; together: with the others of its group, if it is in one.

    Without the interpreter's own shutdown, which aborts now and then when communication threads are alive.
    """
    dist = sys.modules.get("torch.distributed")
    if dist is not None and dist.is_available() and dist.is_initialized() and together:
        dist.barrier()
        dist.destroy_process_group()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> NoReturn:
    """Run what config.yaml in the given directory says; the launcher reads in status.json how it ended."""
    make_streams_last()
    if sys.platform == "linux":  # If the launcher is killed, the worker is asked to stop.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGUSR1)
    run_dir = Path(sys.argv[1])
    told = json.loads(os.environ.pop(secrets.ENVIRONMENT))
    if os.getppid() != told["launcher"]:
        leave(1, together=False)  # It was killed before this process could ask to be told of that.
    try:
        work(secrets.restored(run_directory.read_config(run_dir, told["sha256"]), told["hidden"]), run_dir)
    except Preempted:
        pass  # Exit with 0: after another code the agent would at once end ranks that are still leaving.
    except UserError as error:
        print(error, file=sys.stderr)
        leave(1, together=False)
    except BaseException:
        traceback.print_exc()
        leave(1, together=False)
    leave(0, together=True)


if __name__ == "__main__":
    main()
