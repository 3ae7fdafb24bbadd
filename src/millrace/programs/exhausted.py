"""Whether the machine has run out of something, or what was named is of no use: the one passes, the other does not."""

import errno


class ExhaustedError(Exception):
    """A program cannot start, because the machine has run out of something; the sentence says of what, and where."""


_EXHAUSTED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE, errno.ENOBUFS})


def is_exhausted(error: BaseException | None) -> bool:
    """True for an error of the system that no other path, permission or address would avoid."""
    return isinstance(error, OSError) and error.errno in _EXHAUSTED
