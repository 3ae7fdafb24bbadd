"""Who this worker is: a fingerprint that stays with its state folder, and a boot id that is new with every start."""

import os
import re
import uuid
from contextlib import suppress
from pathlib import Path
from typing import Self

from msgspec import Struct

from millrace.runtime.hold import HeldError, Hold
from millrace.runtime.no_space import NO_SPACE
from millrace.telemetry.logs import logger

log = logger("worker")

SUPERSEDED = "superseded"
"""The file that says why this identity is no longer used."""
_FINGERPRINT = re.compile(r"[A-Za-z0-9._:-]{8,128}")


class StateBusyError(Exception):
    """Another worker uses the state folder; the message names its pid."""


class StateUnusableError(Exception):
    """The state folder cannot be written or holds what is none of ours; the message says what to do."""


class Identity(Struct, frozen=True, kw_only=True):
    """The two names under which a master knows this worker."""

    fingerprint: str
    boot_id: str


class StateFolder:
    """The worker's own folder, held by one worker at a time. The hold ends with the process, however it ends."""

    def __init__(self, path: Path) -> None:
        """Nothing is touched before :meth:`open`."""
        self.path = path
        self._hold: Hold | None = None

    def open(self) -> Identity:
        """Take hold of the folder, made where missing, and read or invent the fingerprint.

        Raises:
            StateBusyError: another worker holds it.
            StateUnusableError: it cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            hold = Hold.take(self.path / "worker.lock")
        except HeldError as error:
            raise StateBusyError(
                f"cannot start a worker on {self.path}: the worker with pid {error.holder} uses it; "
                "stop that one, or give this one a state folder of its own"
            ) from None
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._check_own()
            identity = Identity(fingerprint=self._fingerprint(), boot_id=uuid.uuid4().hex)
        except BaseException:
            hold.release()
            raise
        self._hold = hold
        return identity

    def give_up(self, reason: str) -> None:
        """Another worker has this identity: no later start takes it up again before a person has looked."""
        try:
            _keep(self.path / SUPERSEDED, reason)
        except OSError as error:
            log.warning("worker.state_unwritable", reason=str(error))

    def close(self) -> None:
        """Let go of the folder."""
        if self._hold is not None:
            self._hold.release()
            self._hold = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _check_own(self) -> None:
        path = self.path / SUPERSEDED
        if path.exists():
            raise StateUnusableError(
                f"cannot use the state folder {self.path}: another worker has the identity in it, and registered later, so the "
                f"folder was copied; if that one is gone, remove {path}, else give this one an empty folder (a machine that had "
                "joined with a token needs another token)"
            )

    def _fingerprint(self) -> str:
        path = self.path / "fingerprint"
        try:
            known = path.read_text(encoding="ascii").strip()
        except FileNotFoundError:
            known = ""
        except (OSError, UnicodeDecodeError) as error:
            raise StateUnusableError(f"cannot read {path}: {error}; remove it to become a new node") from error
        if _FINGERPRINT.fullmatch(known):
            return known
        if known:
            raise StateUnusableError(f"cannot use {path}: it holds no fingerprint; remove it to become a new node")
        try:
            return _keep(path, uuid.uuid4().hex)
        except OSError as error:
            raise self._unusable(error) from error

    def _unusable(self, error: OSError) -> StateUnusableError:
        doing = f"cannot use the state folder {self.path}"
        if error.errno in NO_SPACE:
            return StateUnusableError(
                f"{doing}: no space is left on its disk; free some and start again, or name another folder"
            )
        no_folder = isinstance(error, FileExistsError | NotADirectoryError)
        return StateUnusableError(f"{doing}: {'it is no folder' if no_folder else error.strerror}; name another one")


def _keep(path: Path, text: str) -> str:
    """Write a file that is there whole or not at all, also after a power cut. Raises OSError."""
    part = path.with_name(path.name + ".part")
    try:
        with part.open("w", encoding="ascii") as file:
            file.write(text + "\n")
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError:
        with suppress(OSError):
            part.unlink()
        raise
    return text
