"""Which build of an engine's program this is: the program itself and the libraries that it is loaded with, by their content.

An encoder may lie in a library, and be another one tomorrow while the program stays the same file.
"""

import asyncio
import hashlib
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from millrace.process.capture import capture
from millrace.process.values import CannotStart, Spec
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger

log = logger("worker")

PATIENCE_S = 30.0
_ENOUGH_CHARS = 1 << 20
_INTERPRETER = 3
"""PT_INTERP: the program is loaded by another one, with libraries (elf(5))."""
_LIBRARY = re.compile(r"(?:^|\s)(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
"""How the loader names what it would load (ld.so(8), LD_TRACE_LOADED_OBJECTS)."""

Marks = tuple[tuple[object, ...], ...]


class _UntoldError(Exception):
    """It cannot be told what the program consists of; the message says why."""


class Build:
    """The build of one program, found again only when one of its files is another one."""

    def __init__(self, program: Path, *, clock: Clock, environment: Mapping[str, str]) -> None:
        """Nothing is read before it is asked for."""
        self._program, self._clock, self._environment = program, clock, environment
        self._files: Sequence[Path] = ()
        self._marks: Marks = ()
        self._digest: str | None = None
        self._turn = asyncio.Lock()

    async def digest(self) -> str | None:
        """The SHA-256 of all that its output can depend on; None where that cannot be told."""
        async with self._turn:
            if not self._marks or await asyncio.to_thread(_marks, self._files) != self._marks:
                self._digest, self._marks = None, ()
                try:
                    await self._find()
                except (OSError, CannotStart, struct.error, _UntoldError) as error:
                    log.info("worker.build_unknown", program=str(self._program), reason=str(error))
            return self._digest

    async def _find(self) -> None:
        files: tuple[Path, ...] = (self._program,)
        if await asyncio.to_thread(_names_a_loader, self._program):
            spec = Spec(
                argv=(str(self._program), "-version"),
                cwd=Path("/"),
                env={**self._environment, "LD_TRACE_LOADED_OBJECTS": "1"},
            )
            said = await capture(spec, clock=self._clock, timeout_s=PATIENCE_S, grace_s=0.0, max_chars=_ENOUGH_CHARS)
            libraries = sorted({Path(path) for path in _LIBRARY.findall(said.stdout)})
            if not libraries:
                raise _UntoldError("its loader does not tell its libraries")
            files = (self._program, *libraries)
        marks = await asyncio.to_thread(_marks, files)
        digest = await asyncio.to_thread(_digest, files)
        if await asyncio.to_thread(_marks, files) == marks:  # not replaced while it was read
            self._files, self._marks, self._digest = files, marks, digest


def _marks(files: Sequence[Path]) -> Marks:
    """What changes when a file is written or replaced. Blocking. Those that are gone have marks of their own."""
    found: list[tuple[object, ...]] = []
    for path in files:
        try:
            facts = path.stat()
        except OSError as error:
            found.append((str(path), str(error)))
        else:
            found.append((str(path), facts.st_dev, facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns))
    return tuple(found)


def _digest(files: Sequence[Path]) -> str:
    whole = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()


def _names_a_loader(program: Path) -> bool:
    """Whether an ELF file is loaded with libraries (elf(5)). Blocking. Raises _UntoldError, OSError."""
    with program.open("rb") as file:
        head = file.read(64)
        if head[:6] != b"\x7fELF\x02\x01":  # 64 bits, least significant byte first
            raise _UntoldError("it is no ELF file of 64 bits; a script may start anything")
        begins, size, count = *struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)
        file.seek(begins)
        table = file.read(size * count)
    return any(struct.unpack_from("<I", table, size * one)[0] == _INTERPRETER for one in range(count))
