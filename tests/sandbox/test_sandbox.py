"""Hostile programs are contained, and count as failures; nothing of ours is harmed, and nothing is left running."""

from __future__ import annotations

import os
import resource
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hostile import HOSTILE

from mftcoder.core.errors import UserError
from mftcoder.sandbox.sandbox import Sandbox

STRICT = {
    "seconds": 1.5,
    "memory_bytes": 96 << 20,
    "file_bytes": 1 << 20,
    "disk_bytes": 4 << 20,
    "processes": 5,
    "open_files": 24,
    "num_workers": 2,
    "run": None,
    "require_isolation": True,
}
SPACIOUS = {**STRICT, "seconds": 20.0, "processes": 16}
NAME = f"hostile{os.getpid()}"[:15]
NAMED = f"__import__('ctypes').CDLL(None).prctl(15, b'{NAME}')\n"  # so that we know it again among all processes


def isolates() -> bool:
    try:
        return Sandbox(**STRICT).isolates()
    except UserError:
        return False


isolated = pytest.mark.skipif(not isolates(), reason="this machine gives no namespaces")


def running() -> list[str]:
    """The processes of hostile programs."""
    found = []
    for process in Path("/proc").glob("[0-9]*/comm"):
        try:
            found += [process.parent.name] if process.read_text().strip() == NAME else []
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def attack(tmp_path_factory):
    """All hostile programs at once, with something of ours in their reach: a file, a port, a process."""
    canary = tmp_path_factory.mktemp("canary") / "canary"
    canary.write_text("ours")
    canary.chmod(0o666)
    os.environ["CANARY"] = "ours"
    with socket.create_server(("127.0.0.1", 0)) as server, subprocess.Popen(["sleep", "600"]) as witness:
        server.settimeout(0)
        port = str(server.getsockname()[1])
        programs = [NAMED + code.replace("CANARY", str(canary)).replace("PORT", port) for code in HOSTILE.values()]
        outcomes = Sandbox(**STRICT).outcomes(programs)
        with pytest.raises(BlockingIOError):
            server.accept()
        assert witness.poll() is None
        witness.kill()
    del os.environ["CANARY"]
    assert canary.read_text() == "ours"
    return dict(zip(HOSTILE, outcomes, strict=True))


@pytest.mark.slow
@isolated
@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_program_is_contained_and_fails(attack, name):
    outcome = attack[name]
    assert not outcome.passed, outcome
    assert outcome.reason.startswith(("failed", "timed out", "killed by"))
    assert len(outcome.output) <= 4000
    assert outcome.seconds < STRICT["seconds"] + 5


@pytest.mark.slow
@isolated
def test_the_machine_is_unharmed_and_nothing_is_left_running(attack):
    assert len(HOSTILE) >= 30
    assert running() == []
    assert Path("/usr/bin").is_dir()
    assert not Path("/usr/bin/hostile").exists()
    assert shutil.which("su") is None or os.access(str(shutil.which("su")), os.R_OK)


@pytest.mark.slow
@isolated
def test_honest_programs_pass_with_all_that_python_has(attack):
    programs = [
        "assert sorted([2, 1]) == [1, 2]",
        "import json, math, collections, itertools, re, random, datetime, decimal, heapq, functools, typing, ssl",
        "import tempfile\nwith tempfile.TemporaryFile() as file: file.write(b'x')",
        "import threading\nt = threading.Thread(target=print)\nt.start()\nt.join()",
        "import subprocess, sys\nassert subprocess.run(['true']).returncode == 0",
        "import multiprocessing.pool\nassert multiprocessing.pool.ThreadPool(2).map(abs, [-1]) == [1]",
        "import numpy\nassert numpy.ones(3).sum() == 3",
        "open('a', 'w').write('x')\nassert open('a').read() == 'x'",
        "class A:\n    pass\nassert A().__class__ is A",
        "print('é 𝒳')",
    ]
    sandbox = Sandbox(**{**SPACIOUS, "memory_bytes": 1 << 30, "open_files": 64})
    assert [outcome.reason for outcome in sandbox.outcomes(programs)] == ["passed"] * len(programs)


@isolated
def test_the_number_of_workers_changes_nothing():
    programs = [
        "assert False",
        "pass",
        "raise ValueError('é')",
        "import os\nos._exit(3)",
        "x = 1",
        "import os\nos.abort()",
    ]
    found = [
        [(o.passed, o.reason) for o in Sandbox(**{**SPACIOUS, "num_workers": number}).outcomes(programs)]
        for number in (1, 3)
    ]
    assert found[0] == found[1]
    assert [passed for passed, _ in found[0]] == [False, True, False, False, True, False]
    assert found[0][2][1] == "failed: ValueError: é"
    assert found[0][5][1] == "killed by SIGABRT"


@isolated
def test_programs_do_not_see_each_other():
    write = "import os\nassert not os.path.exists('left') and not os.path.exists('/tmp/left')\n"
    write += "for name in ('left', '/tmp/left'): open(name, 'w')"
    outcomes = Sandbox(**SPACIOUS).outcomes([write] * 4)
    assert [outcome for outcome in outcomes if not outcome.passed] == []


@pytest.mark.slow
@isolated
def test_the_sandbox_costs_less_than_60_milliseconds_a_program():
    """Of processor time, which the other tests beside this one do not lengthen much."""

    def least(run: Callable[[], object]) -> float:
        times = []
        for _ in range(8):
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            run()
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            times.append(after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
        return min(times)

    sandbox = Sandbox(**SPACIOUS)
    contained = least(lambda: sandbox._contained("pass", isolate=True))
    plain = least(lambda: subprocess.run([sys.executable, "-I", "-S", "-c", "pass"], check=True))
    assert 0 < contained - plain < 0.06


@isolated
@pytest.mark.skipif(shutil.which("node") is None, reason="without node")
def test_another_language_runs_by_its_command():
    sandbox = Sandbox(**{**SPACIOUS, "run": "node {file}", "memory_bytes": 1 << 30, "file_bytes": 1 << 24})
    good, bad = sandbox.outcomes(["console.log(1 + 1)", "process.exit(3)"])
    assert (good.passed, good.output.strip()) == (True, "2")
    assert not bad.passed


@isolated
def test_an_absent_command_is_a_failure():
    [outcome] = Sandbox(**{**SPACIOUS, "run": "no-such-command {file}"}).outcomes(["x"])
    assert outcome.reason == "failed: no-such-command: No such file or directory"


def test_without_namespaces_it_is_refused_unless_forced(monkeypatch):
    asked = []

    def contained(self, program, *, isolate):
        asked.append(isolate)
        return (
            {"error": "EPERM"} if isolate else {"late": False, "finished": True, "status": 0, "output": "", "took": 0.1}
        )

    monkeypatch.setattr(Sandbox, "_contained", contained)
    with pytest.raises(UserError, match=r"cannot isolate programs \(EPERM\).*sandbox\.require_isolation=false"):
        Sandbox(**STRICT).outcomes(["pass"])
    [outcome] = Sandbox(**{**STRICT, "require_isolation": False}).outcomes(["pass"])
    assert (outcome.passed, asked) == (True, [True, True, False])


def test_limits_and_an_end_of_all_processes_also_without_namespaces():
    sandbox = Sandbox(**SPACIOUS)
    leaves = NAMED + HOSTILE["leaves a process behind"]
    for program, finished in (("pass", True), ("x = bytearray(1 << 32)", False), (leaves, False)):
        told = sandbox._contained(program, isolate=False)
        assert told["finished"] == finished, told
    assert running() == []


def test_impossible_settings_are_named_together():
    with pytest.raises(
        ValueError, match=r"seconds: 0 is not above 0\nnum_workers: 0 is below 1.*\nrun: 'node' does not"
    ):
        Sandbox(**{**STRICT, "seconds": 0, "num_workers": 0, "run": "node"})
