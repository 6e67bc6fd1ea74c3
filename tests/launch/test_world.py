"""Which launcher started a process is read from its variables alone, and leftovers are not believed."""

from __future__ import annotations

import socket
import threading
from pathlib import Path
from typing import Any

import pytest

from mftcoder.core.errors import ConfigError, UserError, WorkerError
from mftcoder.launch import launcher, world
from mftcoder.launch.elastic import Ending
from mftcoder.launch.launcher import Shape, fit
from mftcoder.launch.world import Meeting, World, find, first_host
from mftcoder.storage import status

TORCHRUN = {
    "RANK": "3",
    "LOCAL_RANK": "1",
    "WORLD_SIZE": "4",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "head",
    "MASTER_PORT": "29400",
}
SRUN = {
    "SLURM_JOB_ID": "41234",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[03-04]",
    "SLURM_PROCID": "2",
    "SLURM_LOCALID": "0",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def test_torchrun() -> None:
    place = find({**TORCHRUN, "TORCHELASTIC_RUN_ID": "x"})
    assert place == World(
        launcher="torchrun", rank=3, size=4, local_rank=1, local_size=2, address="head", port=29400
    )  # fmt: skip
    assert place.nodes == 2
    assert place.environment() == TORCHRUN


def test_it_says_for_whom_it_waits(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(world, "SILENT_SECONDS", 0.1)
    monkeypatch.setattr(world, "JOIN_SECONDS", 2)
    monkeypatch.setattr("mftcoder.launch.world._store.__defaults__", (2,))
    for name in TORCHRUN:
        monkeypatch.setenv(name, "")
    stale = {**TORCHRUN, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    place = find(stale)
    assert place is not None
    with pytest.raises(UserError, match="not all came within 2 s"):
        Meeting.of(place)
    assert f"waiting for 127.0.0.1:{stale['MASTER_PORT']} as rank 3 of 4" in caplog.text


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        (
            "RuntimeError: [gloo] Timed out waiting 20000ms for recv",
            "did not answer; rank 0: RuntimeError: [gloo] Timed",
        ),
        ("RuntimeError: Connection closed by peer", "ended with SIGKILL: out of memory?"),
    ],
)
def test_a_rank_that_hangs_is_told_from_one_that_was_killed(tmp_path: Path, reason: str, said: str) -> None:
    status.fail(tmp_path, reason=reason, rank=0)
    with pytest.raises(WorkerError, match="rank 1 failed"):
        launcher._outcome(tmp_path, Ending(rank=1, how="SIGKILL", killed=True))
    found = status.read(tmp_path)
    assert found is not None
    assert found.reason.startswith(said)  # type: ignore[union-attr]


def test_deepspeed_calls_the_local_size_otherwise() -> None:
    env = {k: v for k, v in TORCHRUN.items() if k != "LOCAL_WORLD_SIZE"}
    assert getattr(find({**env, "LOCAL_SIZE": "2"}), "local_size", None) == 2
    assert getattr(find(env), "local_size", None) == 4


def test_srun() -> None:
    assert find(SRUN) == World(
        launcher="srun", rank=2, size=4, local_rank=0, local_size=2, address="gpu03", port=20000 + 1234
    )  # fmt: skip


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_JOB_NODELIST": "a"},  # within sbatch
        {**SRUN, "SLURM_STEP_NUM_TASKS": "1", "SLURM_STEP_NUM_NODES": "1"},  # salloc's own shell
        {**SRUN, "SLURM_STEP_NUM_TASKS": "2", "SUBMITIT_EXECUTOR": "slurm"},  # one agent on each node
        {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500", "ACCELERATE_USE_CPU": "true"},  # accelerate launch --cpu
        {"ACCELERATE_USE_FSDP": "false"},
    ],
)
def test_started_by_hand(env: dict[str, str]) -> None:
    assert find(env) is None


@pytest.mark.parametrize(
    ("env", "fault"),
    [
        ({"RANK": "0"}, "RANK=0: set, but not LOCAL_RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT; unset "),
        ({"WORLD_SIZE": "2"}, "WORLD_SIZE=2: set, but not RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT; unset "),
        ({"LOCAL_RANK": "0"}, "LOCAL_RANK=0: set, but not RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT; unset "),
        ({"ACCELERATE_USE_DEEPSPEED": "true"}, "ACCELERATE_USE_DEEPSPEED: 'true' in the environment would override "),
        ({**TORCHRUN, "ACCELERATE_USE_FSDP": "1"}, "ACCELERATE_USE_FSDP: '1' in the environment would override engine"),
        ({**SRUN, "SUBMITIT_EXECUTOR": "slurm"}, "hydra.launcher.tasks_per_node: 2; take 1, and give "),
        ({"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_NTASKS": "2"}, "hydra.launcher.tasks_per_node: 2; take 1, "),
    ],
)
def test_leftovers_and_what_cannot_work(env: dict[str, str], fault: str) -> None:
    with pytest.raises(ConfigError) as caught:
        find(env)
    assert caught.value.faults[0].startswith(fault)


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("a", "a"),
        ("a,b", "a"),
        ("gpu[03-05,9]", "gpu03"),
        ("gpu[7,9]", "gpu7"),
        ("n1,x[2-3]", "n1"),
        ("r-1n[08]", "r-1n08"),
    ],
)
def test_first_host(nodes: str, first: str) -> None:
    assert first_host(nodes) == first


def test_is_here() -> None:
    assert world.is_here("localhost")
    assert world.is_here("127.0.0.1")
    assert not world.is_here("192.0.2.1")
    assert not world.is_here("no-such-host.invalid")


def test_processes_that_do_not_come_are_missed() -> None:
    with pytest.raises(UserError, match=r"2 processes were to meet at 127.0.0.1:\d+, but not all came within 1 s"):
        world._store("127.0.0.1", free_port(), 2, True, seconds=1)


def test_an_error_of_the_first_is_the_error_of_all() -> None:
    port, heard = free_port(), []

    def other() -> None:
        try:
            Meeting(world._store("127.0.0.1", port, 2, False), serves=False).receive()
        except UserError as error:
            heard.append(str(error))

    for error in (ConfigError(["a: bad"]), RuntimeError("boom")):
        thread = threading.Thread(target=other)
        thread.start()
        first = Meeting(world._store("127.0.0.1", port, 2, True), serves=True)
        first.hand_error(error)
        thread.join()
        port = free_port()
    assert heard == ["1 fault in the configuration:\n  a: bad", "the first process could not start: boom"]


# --- how many processes a config wants

FOUR = World(launcher="torchrun", rank=0, size=4, local_rank=0, local_size=2, address="head", port=1)


def engine(**numbers: Any) -> dict[str, Any]:
    return {"engine": {"num_processes": 1, "num_nodes": 1, "rendezvous": None} | numbers}


@pytest.mark.parametrize(
    ("tree", "others", "shape"),
    [
        ({}, None, Shape(1, 1, None)),
        ({"engine": None}, None, Shape(1, 1, None)),
        (engine(num_processes=2), None, Shape(2, 1, None)),
        (engine(num_nodes=2, rendezvous="head:1"), None, Shape(1, 2, "head:1")),
        (engine(num_processes=None, num_nodes=None), FOUR, Shape(2, 2, None)),
        (engine(num_processes=2, num_nodes=2), FOUR, Shape(2, 2, None)),
    ],
)
def test_the_shape_of_a_run(tree: dict[str, Any], others: World | None, shape: Shape) -> None:
    assert fit(tree, others) == shape
    if tree.get("engine"):
        assert (tree["engine"]["num_processes"], tree["engine"]["num_nodes"]) == (shape.num_processes, shape.num_nodes)


@pytest.mark.parametrize(
    ("tree", "others", "faults"),
    [
        ({}, FOUR, ["engine.num_processes: 1, but torchrun started 2", "engine.num_nodes: 1, but torchrun started 2"]),
        (engine(num_processes=2), FOUR, ["engine.num_nodes: 1, but torchrun started 2"]),
        (engine(num_nodes=2), None, ["engine.rendezvous: None is not <host of one of the nodes>:<port>"]),
        (
            engine(num_nodes=2, rendezvous="a"),
            None,
            ["engine.rendezvous: 'a' is not <host of one of the nodes>:<port>"],
        ),
    ],
)
def test_a_shape_that_does_not_fit(tree: dict[str, Any], others: World | None, faults: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        fit(tree, others)
    assert caught.value.faults == faults


def test_slurm_knows_where_to_meet(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[1-2]")
    assert fit(engine(num_nodes=2), None) == Shape(1, 2, "gpu1:20007")
