"""The command line: reads what was typed, runs it, and ends with an exit code and words that say what to do."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import hydra

from mftcoder import __version__
from mftcoder.cli import completion
from mftcoder.cli.command import Command, parse
from mftcoder.cli.help_pages import PLAIN
from mftcoder.cli.messages import explain, plain
from mftcoder.core.errors import ConfigError, Preempted, Refused
from mftcoder.storage.run_directory import register_resolvers
from mftcoder.system.terminal import remember_program

if TYPE_CHECKING:
    from omegaconf import DictConfig

# Nothing here may import torch: --help, --cfg and completion answer at once.

CLOSED_PIPE = 141  # as of a process that SIGPIPE has ended
Task = Callable[["DictConfig"], "float | None"]


def main() -> NoReturn:
    """Run what was typed.

    Exit codes: 0, 1 (failed), 2 (configuration), 85 (stopped with a checkpoint), 130 (Ctrl-C), 141 (nobody reads).
    """
    full = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra then raises errors, which become messages here.
    command, code, together = None, 0, False
    try:
        remember_program()
        command = parse(sys.argv) if "--version" not in sys.argv else None
        run(command)
        sys.stdout.flush()
        together = True
    except Preempted as stop:
        print(stop.message, file=sys.stderr)
        code, together = int(stop.code or 0), stop.together
    except KeyboardInterrupt:
        code = 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Nobody reads what is still to be flushed.
        code = CLOSED_PIPE
    except (Exception, Refused) as error:
        code = explain(plain(error, command), full=full)
    if "WORLD_SIZE" in os.environ:
        from mftcoder.launch.worker import leave

        leave(code, together=together)
    sys.exit(code)


def run(command: Command | None) -> None:
    """Do what was typed; None asks for the version."""
    if command is None:
        print(f"mftcoder {__version__}")
    elif command.answer is not None:
        print(command.answer, end="")
    elif command.verb in PLAIN:
        _run_plain(command)
    else:
        _run_verb(command)


def _run_plain(command: Command) -> None:
    """A verb that has no configuration of its own."""
    if command.verb == "migrate":
        from mftcoder.verbs.migrate import migrate

        return migrate(command.arguments)
    if command.verb == "runs":
        from mftcoder.verbs.runs import runs

        return runs(command.arguments)
    raise AssertionError(f"{command.verb} is in {list(PLAIN)}, but nothing runs it")


def _run_verb(command: Command) -> None:
    """Have Hydra do what the command says, in this process or in the others that a launcher started with it."""
    if command.completes:
        with completion.of(command):
            return _hydra(command, lambda cfg: None)
    if command.asks:
        return _hydra(command, lambda cfg: None)
    from mftcoder.launch import world
    from mftcoder.launch.launcher import task

    others = world.find(os.environ)
    if others is None:
        return _hydra(command, task)
    if command.multirun:
        raise ConfigError(
            [f"--multirun: {others.launcher} has started {others.size} processes; sweeps start their own"]
        )
    meeting = world.Meeting.of(others)
    if others.rank > 0:
        from mftcoder.launch.worker import work

        message = meeting.receive()
        work(message["tree"], Path(message["run_dir"]))
        return None
    try:
        return _hydra(command, lambda cfg: task(cfg, meeting))
    except (Exception, Refused) as error:
        if not meeting.handed:
            meeting.hand_error(plain(error, command))
        raise


def _hydra(command: Command, task: Task) -> None:
    register_resolvers()
    sys.argv[1:] = [*command.flags, *command.overrides]
    hydra.main(version_base="1.3", config_path=str(command.conf), config_name=command.verb)(task)()


if __name__ == "__main__":
    main()
