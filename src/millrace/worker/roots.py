"""Which paths a job may name. What counts is where a path really leads, after every symbolic link."""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from millrace.domain.failures import FailureClass
from millrace.worker.failure import TaskFailedError


class Roots:
    """The folders (or single files) that inputs and outputs by path must lie in."""

    def __init__(self, roots: Sequence[Path], places: Sequence[Path] = ()) -> None:
        """Each root is resolved once, so that what a link below it points to later cannot widen it.

        `places` are single folders that an output may become; what lies below or beside them is not allowed by that.
        """
        self._roots = tuple(Path(os.path.realpath(root)) for root in roots)
        self._places = frozenset(Path(os.path.realpath(place)) for place in places)

    def input(self, location: str) -> Path:
        """The real path of a non-empty regular file.

        Raises:
            TaskFailedError: class `request` for a path that is not allowed, `input` for a file that is not there.
        """
        path = self._allowed(location, "input")
        try:
            # O_NONBLOCK: opening a FIFO would wait for its writer. O_NOFOLLOW: the last part was resolved already.
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            raise TaskFailedError(FailureClass.INPUT, f"cannot find the input {location}; check the path") from None
        except OSError as error:
            # ENXIO: a socket, or a device without a driver.
            why = "it is no regular file" if error.errno == errno.ENXIO else error.strerror
            raise TaskFailedError(FailureClass.INPUT, f"cannot read the input {location}: {why}") from None
        try:
            facts = os.fstat(descriptor)
        finally:
            os.close(descriptor)
        if stat.S_ISDIR(facts.st_mode):
            raise TaskFailedError(
                FailureClass.INPUT, f"cannot use the input {location}: it is a folder; name a file in it"
            )
        if not stat.S_ISREG(facts.st_mode):
            raise TaskFailedError(FailureClass.INPUT, f"cannot use the input {location}: it is no regular file")
        if facts.st_size == 0:
            raise TaskFailedError(FailureClass.INPUT, f"cannot use the input {location}: the file is empty")
        return path

    def output(self, location: str) -> Path:
        """The real path that a folder of outputs will have. Its parents need not be there yet.

        Raises:
            TaskFailedError: class `request` for a path that is not allowed.
        """
        if (place := Path(os.path.realpath(location))) in self._places:
            return place
        path = self._allowed(location, "output")
        if path in self._roots:
            raise TaskFailedError(
                FailureClass.REQUEST,
                f"cannot use {location} as output: it is an allowed root itself; name a folder below it",
            )
        return path

    def _allowed(self, location: str, role: str) -> Path:
        if "\0" in location or not location.startswith("/"):
            raise TaskFailedError(FailureClass.REQUEST, f"cannot use {location!r} as {role}: write an absolute path")
        if ".." in location.split("/"):
            raise TaskFailedError(FailureClass.REQUEST, f"cannot use {location!r} as {role}: it holds `..`")
        try:
            path = Path(os.path.realpath(location))
        except OSError as error:
            raise TaskFailedError(
                FailureClass.REQUEST, f"cannot use {location!r} as {role}: {error.strerror}"
            ) from None
        if any(path == root or path.is_relative_to(root) for root in self._roots):
            return path
        allowed = ", ".join(str(root) for root in self._roots) or "none on this worker"
        raise TaskFailedError(
            FailureClass.REQUEST,
            f"cannot use {location!r} as {role}: it lies outside the allowed roots ({allowed}); "
            "allow its folder with --media-root",
        )
