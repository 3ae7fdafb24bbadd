"""How a command ends when it cannot do what was asked: one sentence on stderr and an exit code, never a traceback."""


class CommandError(Exception):
    """Ends the command with this sentence. Code 1: it was refused or failed; code 2: it was used wrongly."""

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
