"""Which FFmpeg a worker runs: found, and asked once whether it is one."""

import asyncio
import functools
import hashlib
import importlib.util
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from millrace.config.errors import SettingError
from millrace.engines.ffmpeg import encoders
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.process.capture import capture
from millrace.process.sandbox import Demand
from millrace.process.values import CannotStart, Spec
from millrace.runtime.clock import Clock, SystemClock
from millrace.worker.proofs import EngineSource
from millrace.worker.shut_in import CannotShutIn, way_in

ANSWER = "ffmpeg version "
"""What every FFmpeg begins with when it is asked for its version."""
OLDEST = (5, 1)
"""The oldest FFmpeg whose words are known (engines/ffmpeg/signatures.py), and that gets mended where memory is corrupted."""
_NUMBER = re.compile(r"ffmpeg version \D{0,2}(\d+)\.(\d+)")
PATIENCE_S = 10.0
_ENOUGH_CHARS = 1 << 16
_REMEDY = "name an FFmpeg with --ffmpeg or MILLRACE_FFMPEG, or neither for the one that comes with Millrace"


def binary(given: Path | None) -> Path:
    """The FFmpeg to run: the one that was named, or the one that comes with the package.

    Raises:
        SettingError: there is none.
    """
    if given is not None:
        found = shutil.which(given)
        if found is None:
            raise SettingError(f"cannot run {given}: there is no such program; {_REMEDY}")
        return Path(found).absolute()  # engines run in folders of their own
    return _of_the_package()


@functools.cache
def _of_the_package() -> Path:
    # Its own `get_ffmpeg_exe` runs FFmpeg once to see whether it does: 20 ms of every start, and the sandbox's trial says so too.
    package = importlib.util.find_spec("imageio_ffmpeg")
    for folder in (package and package.submodule_search_locations) or ():
        for found in (Path(folder) / "binaries").glob("ffmpeg-*"):
            if os.access(found, os.X_OK):
                return found
    if (own := shutil.which("ffmpeg")) is not None:  # of a platform for which the package has none
        return Path(own).absolute()
    raise SettingError("cannot find FFmpeg: the package has none for this platform; set MILLRACE_FFMPEG")


class Identity(Struct, frozen=True, kw_only=True):
    """Which program it is. `version` is what it says of itself, `sha256` what it is."""

    path: str
    version: str
    sha256: str


async def check(given: Path | None, *, clock: Clock | None = None) -> None:
    """Pass, or say that what was named is no FFmpeg, or too old a one. The one of the package needs no check.

    Raises:
        SettingError: it cannot be run, gives another answer than FFmpeg does, or is older than 5.1.
    """
    if given is not None:
        await version(given, clock=clock)


async def version(given: Path | None, *, clock: Clock | None = None) -> str:
    """What it says of itself. One without a number, of a snapshot, is believed to be new enough. Raises SettingError, as `check`."""
    program = binary(given)
    spec = Spec(argv=(str(program), "-version"), cwd=Path("/"), env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"})
    try:
        said = await capture(
            spec, clock=clock or SystemClock(), timeout_s=PATIENCE_S, grace_s=0.0, max_chars=_ENOUGH_CHARS
        )
    except CannotStart as error:
        raise SettingError(f"{error}; {_REMEDY}") from error
    if not said.stdout.startswith(ANSWER):
        raise SettingError(f"cannot use {program} as FFmpeg: it does not answer `-version` as FFmpeg does; {_REMEDY}")
    text = said.stdout.partition("\n")[0].partition(" Copyright")[0]
    if is_too_old(text):
        raise SettingError(
            f"cannot use {program}: it is {text}, and {'.'.join(map(str, OLDEST))} is the oldest that Millrace knows; {_REMEDY}"
        )
    return text


def is_too_old(text: str) -> bool:
    """Whether a version, as FFmpeg says it, lies below the floor."""
    found = _NUMBER.match(text)
    return found is not None and (int(found[1]), int(found[2])) < OLDEST


async def identify(given: Path | None, expected: str = "") -> Identity:
    """What it really is, for the record. Reads the whole program.

    Raises:
        SettingError: as `check`, or its SHA-256 is not the `expected` one.
    """
    program = binary(given)
    said, digest = await asyncio.gather(version(given), asyncio.to_thread(_digest, program))
    if expected and digest != expected:
        raise SettingError(
            f"cannot use {program} as FFmpeg: its SHA-256 is {digest}, and MILLRACE_FFMPEG_SHA256 wants {expected}; "
            "look who changed it"
        )
    return Identity(path=str(program), version=said.removeprefix(ANSWER), sha256=digest)


def _digest(program: Path) -> str:
    with program.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def check_sandbox(wanted: str, given: Path | None, *, clock: Clock | None = None) -> None:
    """Pass, or say why what is required cannot be had.

    Raises:
        SettingError: the sandbox is required, and does not work whole here.
    """
    try:
        await way_in(Demand(wanted), (binary(given),), clock=clock or SystemClock())
    except CannotShutIn as error:
        raise SettingError(str(error)) from error


async def checked(given: Path | None, sandbox: str) -> None:
    """Both checks. Raises SettingError as they do."""
    await check(given)
    await check_sandbox(sandbox, given)


def source(program: Path, wanted: Sequence[str] = encoders.ALL) -> EngineSource:
    """FFmpeg with the encoders to try."""
    return EngineSource(
        name="ffmpeg",
        binary=program,
        encoders=tuple(wanted),
        bind=lambda working: FFmpeg(program, working=working),
        session=lambda encoder: encoders.session(program, encoder),
    )
