"""F8: a place that may not be written."""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

import pytest
from crashes import At, die, forked
from run_files import same_end

from mftcoder.storage import resumption

CAPABILITIES_3, OVERRIDE = 0x20080522, 0b110  # linux/capability.h: DAC_OVERRIDE, DAC_READ_SEARCH


def obey_modes() -> None:
    """From now on the modes of files hold in this process, and in threads that it starts, even if it is root's."""
    header, sets = (ctypes.c_uint32 * 2)(CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.capget(header, sets) == 0
    sets[0] &= ~OVERRIDE  # of effective, permitted, inheritable, twice
    assert libc.capset(header, sets) == 0, os.strerror(ctypes.get_errno())


@pytest.fixture
def steps(tmp_path):
    """The directory of a run's checkpoints, which may be cleared away in the end."""
    directory = tmp_path / "a" / "checkpoints"
    yield directory
    directory.chmod(0o755)


@pytest.mark.slow
def test_f8_a_directory_that_may_not_be_written_keeps_its_checkpoints(whole, run, steps: Path, capfd) -> None:
    def job() -> None:
        obey_modes()
        run(steps.parent, also=At(3, lambda: steps.chmod(0o555)))

    assert forked(job) == 1
    error = capfd.readouterr().err.splitlines()[-1]
    assert error.startswith("mftcoder.core.errors.UserError: ")
    assert "step_000004 could not be saved: [Errno 13] Permission denied" in error
    assert error.endswith("the earlier checkpoints are as they were")
    assert [path.name for path in steps.iterdir() if path.name.startswith((".", "step"))] == ["step_000002"]
    steps.chmod(0o755)
    run(steps.parent, "resume=auto")
    assert same_end(steps.parent, whole[0])


@pytest.mark.slow
def test_f8_what_may_not_be_cleared_away_is_one_clear_error(run, steps: Path, capfd) -> None:
    assert forked(lambda: run(steps.parent, also=At(3, die))) == -signal.SIGKILL
    (steps / ".staged-step_000004-0").mkdir()
    steps.chmod(0o555)

    def job() -> None:
        obey_modes()
        run(steps.parent, "resume=auto")

    assert forked(job) == 1
    assert f"UserError: {steps} cannot be written: [Errno 13]" in capfd.readouterr().err
    assert resumption.newest(steps.parent).name == "step_000002"
