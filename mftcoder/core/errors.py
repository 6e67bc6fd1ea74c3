"""The errors that are messages to a person, shown without a traceback."""


class UserError(ValueError):
    """Something the user can mend: the message names the place, the value and the remedy."""


class Preempted(SystemExit):
    """The run was asked to stop and left a checkpoint behind: exit code 85, so that a scheduler may requeue it."""

    def __init__(self, message: str) -> None:
        super().__init__(85)
        self.message = message
