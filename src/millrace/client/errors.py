"""What a caller can do about a request that did not succeed: one type for each reaction. Messages are for users."""

from millrace.wire.v1.problems import FieldError


class ClientError(Exception):
    """The base of what this room raises; the message is a sentence for the user and never holds a key."""


class UnreachableError(ClientError):
    """No master answered in the time given. Try again later, or name other masters."""


class UntrustedError(UnreachableError):
    """A server is there, and one of the two does not trust the other's certificate; the message says what to do."""


class UnauthorizedError(ClientError):
    """The key is missing, unknown or not allowed to do this. Another key is needed."""


class RefusedError(ClientError):
    """A master answered and refused. Change the request; repeating it as it is will not help."""

    def __init__(self, message: str, *, status: int, kind: str = "", errors: tuple[FieldError, ...] = ()) -> None:
        """`kind` is the last part of the problem's type, `errors` names the fields at fault."""
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.errors = errors


class NotFoundError(RefusedError):
    """What was named does not exist."""


class ConflictError(RefusedError):
    """What was named is not in a state that allows this."""


class SupersededError(ConflictError):
    """Another worker has this one's identity, and came later: stop for good."""


class StaleError(ConflictError):
    """The attempt, or the node's epoch, is no longer this worker's: stop the work and report nothing more of it."""


class InterruptedTransferError(ClientError):
    """An upload, a download or a stream broke off and could not be taken up again."""
