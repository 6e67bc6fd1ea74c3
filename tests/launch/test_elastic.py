"""Runs of several processes, on one machine and on two: their directory, and how they end together."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path

import pytest
from command_line import facts, finish, run, runs, start, status

pytestmark = pytest.mark.slow  # Every test starts processes.


def wait_for_run(ready: tuple[str, ...] = ("ready0",)) -> Path:
    end = time.monotonic() + 60
    while not (found := [r for r in runs() if all((r / name).exists() for name in ready)]):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found[0]


def test_processes_meet_in_one_directory_with_a_log_for_each_rank(conf: Path) -> None:
    code, out, err = run("engine=many", "action=sum", "value=2")
    assert (code, out, err) == (0, "toy toy on rank 0\n", "")
    (run_dir,) = runs()
    assert status(run_dir)["metric"] == 2 * 1 + 2 * 2
    assert [facts(run_dir, rank)["world"] for rank in range(2)] == ["2", "2"]
    assert facts(run_dir, 1)["hydra"] is False
    assert (run_dir / "ranks" / "1" / "stdout.log").read_text() == "toy toy on rank 1\n"


@pytest.mark.parametrize(
    ("action", "reason", "shown"),
    [
        ("raise", "RuntimeError: boom on rank 1", "RuntimeError: boom on rank 1"),
        ("kill", "ended with SIGKILL: out of memory?", "rank 1 failed: ended with SIGKILL: out of memory?"),
        ("miss", "ended with SIGKILL: out of memory?", "rank 1 failed: ended with SIGKILL: out of memory?"),
        ("abort", "ended with exit code 3", "rank 1 failed: ended with exit code 3"),
    ],
)
def test_a_rank_that_fails_ends_the_others_at_once(conf: Path, action: str, reason: str, shown: str) -> None:
    process = start("engine=many", f"action={action}", "rank=1")
    run_dir = wait_for_run(("facts0.json", "facts1.json"))
    begun = time.monotonic()
    code, _, err = finish(process)
    assert time.monotonic() - begun < 15
    assert code == 1
    assert shown in err
    assert {k: status(run_dir)[k] for k in ("state", "reason", "rank")} == {
        "state": "failed", "reason": reason, "rank": 1
    }  # fmt: skip


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_all_ranks_are_asked_to_stop(conf: Path, number: signal.Signals) -> None:
    process = start("engine=many", "action=wait")
    run_dir = wait_for_run(("ready0", "ready1"))
    process.send_signal(number)
    code, _, err = finish(process)
    assert (code, err) == (85, "stopped after step 7\n")
    assert status(run_dir)["state"] == "preempted"


@pytest.mark.parametrize(
    ("saved", "code", "said"),
    [
        (None, 130, "stopped before it could save anything\n"),
        ("step_000050", 85, "stopped at once; step_000050 is there\n"),
    ],
)
def test_a_second_signal_ends_all_ranks_at_once(conf: Path, saved: str | None, code: int, said: str) -> None:
    process = start("engine=many", "action=ignore")
    run_dir = wait_for_run(("ready0", "ready1"))
    if saved is not None:
        (run_dir / "checkpoints").mkdir()
        (run_dir / "checkpoints" / "latest").write_text(saved)
    begun = time.monotonic()
    process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert finish(process)[::2] == (code, said)
    assert status(run_dir)["state"] == "preempted"
    assert time.monotonic() - begun < 15


def test_workers_do_not_outlive_a_launcher_that_is_killed(conf: Path) -> None:
    process = start("engine=many", "action=wait")
    run_dir = wait_for_run(("ready0", "ready1"))
    process.kill()
    process.communicate()
    end = time.monotonic() + 30
    while status(run_dir)["state"] == "running":
        assert time.monotonic() < end
        time.sleep(0.1)
    assert status(run_dir)["state"] == "preempted"


def test_two_machines_agree_on_one_directory(conf: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("", 0))
        port = probe.getsockname()[1]
    words = ("engine=many", "engine.num_nodes=2", "engine.num_processes=1", f"engine.rendezvous=localhost:{port}")
    nodes = [start(*words, "action=sum", "value=1") for _ in range(2)]
    assert [finish(node)[0] for node in nodes] == [0, 0]
    (run_dir,) = runs()
    assert status(run_dir)["metric"] == 3
    assert [facts(run_dir, rank)["world"] for rank in range(2)] == ["2", "2"]
