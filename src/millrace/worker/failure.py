"""How a step of a task says that it failed, and from the errors of other rooms to the class that decides on a retry."""

import errno
from collections.abc import Mapping

from millrace.blobs.publish import DestinationExists
from millrace.blobs.values import BlobError, BlobKeyInvalid, BlobMissing, BlobsFull, BlobsRefused
from millrace.client.errors import (
    ClientError,
    InterruptedTransferError,
    NotFoundError,
    UnreachableError,
)
from millrace.domain.failures import Failure, FailureClass
from millrace.domain.media.damage import Damage
from millrace.domain.media.probe import Probe
from millrace.runtime.no_space import NO_SPACE


class TaskFailedError(Exception):
    """A step failed; `failure` is what the master and the user are told."""

    def __init__(self, failure_class: FailureClass, message: str, *, facts: Mapping[str, object] | None = None) -> None:
        """`message` is one sentence for the user, `facts` plain data that is kept with the job."""
        super().__init__(message)
        self.failure = Failure(failure_class=failure_class, message=message)
        self.facts = facts or {}


class DamagedError(TaskFailedError):
    """The engine could not read the input to its end."""

    def __init__(self, message: str, *, probe: Probe | None = None, damage: Damage | None = None) -> None:
        """`probe` and `damage` are what a probe could tell of it, where that failed already."""
        super().__init__(FailureClass.INPUT, message)
        self.probe = probe
        self.damage = damage or Damage()


class HandBackError(Exception):
    """This worker cannot do the task now, through no fault of the task; it goes back unspent after `delay_s`."""

    def __init__(self, reason: str, *, delay_s: float) -> None:
        """`reason` is one sentence for the operator."""
        super().__init__(reason)
        self.reason = reason
        self.delay_s = delay_s


class NotArrivedError(Exception):
    """The upload has not come so far: the task goes back unspent, and waits for the first `needed` of `size` bytes (0: it is not known
    how many they are).
    """

    def __init__(self, needed: int, size: int, reason: str = "") -> None:
        """`reason` is a clause about the film that says why all of it is needed."""
        what = f"the first {needed:,} bytes of its upload are" if needed < size or not size else "all of its upload is"
        super().__init__(f"{what} needed" + (f": {reason}" if reason else ""))
        self.needed = needed
        self.size = size


_STARVED = frozenset({errno.ENOMEM, errno.EAGAIN, errno.EMFILE, errno.ENFILE})


def from_os_error(error: OSError, doing: str) -> TaskFailedError:
    """A failure of the file system while `doing` something ("write the output to /x")."""
    reason = error.strerror or str(error)
    if error.errno in NO_SPACE:
        return TaskFailedError(FailureClass.DISK, f"cannot {doing}: {reason}; free some space there and retry")
    if error.errno in _STARVED:
        return TaskFailedError(FailureClass.RESOURCE, f"cannot {doing}: {reason}")
    # A missing permission or a broken disk of this machine: another one may do better.
    return TaskFailedError(FailureClass.DISK, f"cannot {doing}: {reason}")


def from_client_error(error: ClientError, doing: str) -> TaskFailedError:
    """A refusal or silence of the masters while `doing` something with an upload or an output."""
    if isinstance(error, NotFoundError):
        return TaskFailedError(FailureClass.INPUT, f"cannot {doing}: {error}")
    if isinstance(error, UnreachableError | InterruptedTransferError):
        return TaskFailedError(FailureClass.NETWORK, f"cannot {doing}: {error}")
    if getattr(error, "status", 0) in (413, 507):
        return TaskFailedError(FailureClass.DISK, f"cannot {doing}: {error}")
    return TaskFailedError(FailureClass.NETWORK, f"cannot {doing}: {error}")


def from_blob_error(error: BlobError) -> TaskFailedError:
    """A failure of an object store or of a destination; the message says what was tried."""
    if isinstance(error, BlobMissing):
        return TaskFailedError(FailureClass.INPUT, str(error))
    if isinstance(error, DestinationExists):
        return TaskFailedError(FailureClass.OUTPUT_EXISTS, str(error))
    if isinstance(error, BlobsFull):
        return TaskFailedError(FailureClass.DISK, str(error))
    if isinstance(error, BlobsRefused | BlobKeyInvalid):
        return TaskFailedError(FailureClass.REQUEST, str(error))
    return TaskFailedError(FailureClass.NETWORK, str(error))
