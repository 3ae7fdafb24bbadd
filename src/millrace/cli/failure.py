"""How a command ends when it cannot do what was asked: one sentence on stderr and an exit code, never a traceback."""

from millrace.programs.exhausted import is_exhausted

FAILED = 1
WRONG_USAGE = 2


class CommandError(Exception):
    """Ends the command with this sentence. Code 1: it was refused or failed; code 2: it was used wrongly."""

    def __init__(self, message: str, *, code: int = FAILED) -> None:
        super().__init__(message)
        self.code = code


def code_of(error: OSError) -> int:
    """2 where a path, a permission or an address is at fault, 1 where the machine has run out of something."""
    return FAILED if is_exhausted(error) else WRONG_USAGE
