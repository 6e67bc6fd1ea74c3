"""Who started this process, and with which others, in the words of torchrun, accelerate, deepspeed and srun."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from threading import Timer
from typing import Any

import psutil

from mftcoder.core.errors import ConfigError, UserError, raise_faults

log = logging.getLogger(__name__)

JOIN_SECONDS = 120  # how long to wait for the other processes
SILENT_SECONDS = 2  # how long to wait for them without a word


@dataclass(frozen=True, kw_only=True)
class World:
    """The place of this process among `size` that `launcher` started, `local_size` of them on this machine."""

    launcher: str
    rank: int
    size: int
    local_rank: int
    local_size: int
    address: str
    port: int

    @property
    def nodes(self) -> int:
        """Number of machines."""
        return max(1, self.size // self.local_size)

    def environment(self) -> dict[str, str]:
        """The variables by which torch.distributed and all that builds on it know the place."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def find(env: Mapping[str, str]) -> World | None:
    """The place that another launcher gave this process; None if it was started by hand.

    Raises ConfigError for variables that some earlier launcher left behind, which libraries would believe.
    """
    leftovers = [
        k for k, v in env.items() if re.fullmatch("ACCELERATE_USE_(?!CPU).*", k) and v.lower() in ("true", "1")
    ]
    if leftovers:
        raise ConfigError(
            [
                f"{leftovers[0]}: {env[leftovers[0]]!r} in the environment would override engine=…; unset it, "
                "or under accelerate launch take a configuration without DeepSpeed and FSDP"
            ]
        )
    if "RANK" in env or "LOCAL_RANK" in env or "WORLD_SIZE" in env:
        return _torchrun(env)
    tasks = int(env.get("SLURM_STEP_NUM_TASKS") or env.get("SUBMITIT_LOCAL_NTASKS") or 1)
    nodes = int(env.get("SLURM_STEP_NUM_NODES", "1"))
    if "SUBMITIT_EXECUTOR" not in env:
        return _srun(env, tasks // nodes) if tasks > 1 else None
    if tasks > nodes:
        raise ConfigError(
            [
                f"hydra.launcher.tasks_per_node: {tasks // nodes}; take 1, and give engine.num_processes, since "
                "the one task on each node starts the others itself"
            ]
        )
    return None


def _torchrun(env: Mapping[str, str]) -> World:
    """torchrun, accelerate launch and deepspeed agree on the names."""
    needed = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    if missing := [name for name in needed if name not in env]:
        present = ", ".join(f"{name}={env[name]}" for name in needed if name in env)
        raise ConfigError([f"{present}: set, but not {', '.join(missing)}; unset what an earlier launcher left behind"])
    size = int(env["WORLD_SIZE"])
    return World(
        launcher="torchrun" if "TORCHELASTIC_RUN_ID" in env else "a launcher",
        rank=int(env["RANK"]),
        size=size,
        local_rank=int(env["LOCAL_RANK"]),
        local_size=int(env.get("LOCAL_WORLD_SIZE") or env.get("LOCAL_SIZE") or size),
        address=env["MASTER_ADDR"],
        port=int(env["MASTER_PORT"]),
    )


def _srun(env: Mapping[str, str], local_size: int) -> World:
    """A task of a Slurm step; inside of sbatch or salloc without srun there is no step of more than one task."""
    address, _, port = str(slurm_rendezvous(env)).rpartition(":")
    return World(
        launcher="srun",
        rank=int(env["SLURM_PROCID"]),
        size=int(env["SLURM_STEP_NUM_TASKS"]),
        local_rank=int(env["SLURM_LOCALID"]),
        local_size=local_size,
        address=address,
        port=int(port),
    )


def slurm_rendezvous(env: Mapping[str, str]) -> str | None:
    """host:port that all tasks of a Slurm job agree on, and hardly two jobs on one machine; None outside of Slurm."""
    if (nodes := env.get("SLURM_STEP_NODELIST") or env.get("SLURM_JOB_NODELIST")) is None:
        return None
    return f"{first_host(nodes)}:{20000 + int(env['SLURM_JOB_ID']) % 20000}"


def first_host(nodelist: str) -> str:
    """The first of Slurm's compressed list: `gpu[03-05,9],x1` gives gpu03."""
    match = re.match(r"([^\[,]+)(?:\[([^\],-]+))?", nodelist)
    if match is None:
        raise ConfigError([f"SLURM_STEP_NODELIST: {nodelist!r} names no host"])
    return match[1] + (match[2] or "")


def is_here(host: str) -> bool:
    """Whether a name or address is this machine's."""
    addresses = {a.address for interface in psutil.net_if_addrs().values() for a in interface}
    with suppress(OSError):
        return socket.gethostbyname(host) in addresses
    return False


class PortTakenError(UserError):
    """Somebody else listens at the place where this process was to."""


class Meeting:
    """Hands what one process decided to the others, before any of them has an engine.

    serves: whether it is this one that decides. Keeps the store alive, which the process group of the engine, or the
    agent, uses again.
    """

    def __init__(self, store: Any, *, serves: bool) -> None:
        from torch.distributed import PrefixStore  # type: ignore[attr-defined]

        self.store = PrefixStore("mftcoder/", store)
        self.serves = serves
        self.handed = False

    @classmethod
    def of(cls, world: World) -> Meeting:
        """Meet the other processes of `world`; the engine will find its environment variables set.

        Raises UserError where not all of them come.
        """
        os.environ.update(world.environment())
        agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"  # Then torchrun itself keeps the store.
        first = world.rank == 0
        with _saying(f"waiting for {world.address}:{world.port} as rank {world.rank} of {world.size}"):
            return cls(_store(world.address, world.port, world.size, first and not agent), serves=first)

    @classmethod
    def at(cls, host: str, port: int, size: int) -> Meeting:
        """Meet the same command on `size` machines; the first on `host` decides. Raises UserError as `of` does."""
        if is_here(host):
            try:
                return cls(_store(host, port, size, True), serves=True)
            except PortTakenError:
                pass  # Another on this machine came first.
        return cls(_store(host, port, size, False), serves=False)

    def hand(self, **message: Any) -> None:
        """Give the others their message, once."""
        self.store.set("message", json.dumps(message))
        self.handed = True

    def hand_error(self, error: BaseException) -> None:
        """Tell the others that there is nothing to do, and why."""
        self.hand(faults=error.faults if isinstance(error, ConfigError) else None, error=str(error))

    def receive(self) -> dict[str, Any]:
        """What was handed. Raises ConfigError or UserError where it is an error."""
        message: dict[str, Any] = json.loads(self.store.get("message"))
        raise_faults(message.get("faults") or [], ConfigError)
        if "error" in message:
            raise UserError(f"the first process could not start: {message['error']}")
        return message


@contextmanager
def _saying(what: str) -> Iterator[None]:
    """Says for whom this process waits, where that takes more than a moment."""
    timer = Timer(SILENT_SECONDS, log.warning, [what])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _store(host: str, port: int, size: int, serve: bool, seconds: int = JOIN_SECONDS) -> Any:
    """A store that `size` processes share. Raises UserError where not all come within `seconds`, or cannot."""
    from torch.distributed import DistError, TCPStore  # type: ignore[attr-defined]

    try:
        return TCPStore(host, port, size, serve, timedelta(seconds=seconds), multi_tenant=True)
    except DistError as error:
        if "EADDRINUSE" in str(error):
            raise PortTakenError(f"{host}:{port} is taken by another program; give another port") from error
        raise UserError(
            f"{size} processes were to meet at {host}:{port}, but not all came within {seconds} s ({error}); "
            "unset RANK, LOCAL_RANK and WORLD_SIZE if they are left over from another launcher"
        ) from error
