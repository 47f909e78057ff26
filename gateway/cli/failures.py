"""How a command fails: an exit code and one sentence that says what to do."""

from enum import IntEnum


class Exit(IntEnum):
    """The process's exit code."""

    DONE = 0
    FAILED = 1
    WRONG_USAGE = 2
    CANNOT_START = 3


class CommandError(Exception):
    """The command ends here. The text is for a person: what is wrong, and what would be right."""

    def __init__(self, message: str, exit_code: Exit = Exit.FAILED) -> None:
        super().__init__(message)
        self.exit_code = exit_code
