"""The errors that are messages to a person, shown without a traceback."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


class UserError(ValueError):
    """Something the user can mend: the message names the place, the value and the remedy."""


class DiskFullError(UserError):
    """There is no space left for what was to be written; what was there is as it was."""


class ConfigError(UserError):
    """Everything that is wrong with a configuration, in one message; faults: a line each."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = list(faults)
        number = "1 fault" if len(self.faults) == 1 else f"{len(self.faults)} faults"
        super().__init__("\n  ".join([f"{number} in the configuration:", *self.faults]))

    def __reduce__(self) -> tuple[type[ConfigError], tuple[list[str]]]:
        return type(self), (self.faults,)  # Sweeps send errors between processes.


def raise_faults(faults: Iterable[str], kind: type[ValueError] = UserError) -> None:
    """Raise one error that names all faults, a line each; nothing happens where there are none.

    Args:
        faults: messages with place, value and remedy.
        kind: of the error.
    """
    if lines := list(faults):
        raise kind(lines if issubclass(kind, ConfigError) else "\n".join(lines))


class WorkerError(RuntimeError):
    """A run failed in its worker processes; the message says why, they have shown where."""


class Refused(SystemExit):
    """An error that is a message, on its way through Hydra, which would add words of its own to any other exception."""

    def __init__(self, error: UserError | WorkerError) -> None:
        super().__init__(2)
        self.error = error

    def __str__(self) -> str:
        return str(self.error)


class Interrupted(Exception):  # noqa: N818 - it is no error
    """Somebody wants the run to stop, during something that need not be finished."""


class Preempted(SystemExit):
    """The run was asked to stop: exit code 85 where it left a checkpoint, so that a scheduler may requeue it, else 130.

    Args:
        message: what became of the run.
        together: whether all processes of the run agreed on it, and so can wait for each other.
        saved: whether there is a checkpoint.
    """

    CODE, UNSAVED = 85, 130

    def __init__(self, message: str, *, together: bool = True, saved: bool = True) -> None:
        super().__init__(self.CODE if saved else self.UNSAVED)
        self.message = message
        self.together = together
        self.saved = saved
