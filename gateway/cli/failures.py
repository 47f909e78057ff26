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


def with_cause(error: Exception) -> str:
    """Return an error's words and, in brackets, those of what caused it: the driver's own, for the operator."""
    cause = error.__cause__
    if cause is None:
        return str(error)
    driver_error = getattr(cause, "orig", None) or cause
    words = str(driver_error).splitlines() or [type(driver_error).__name__]
    return f"{error} ({words[0]})"
