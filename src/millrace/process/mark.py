"""What makes a process recognisable as one of ours, wherever it has gone.

Two things pass on at every fork and exec: the environment, which a program may replace, and the resource limits, which
hardly any program touches. So a child carries a word in its environment, and a number in RLIMIT_LOCKS, a limit that
Linux has not looked at since 2.4.25 (getrlimit(2)) but keeps, passes on, and shows to everybody in /proc/PID/limits, also
after a change of user. Whoever wants to lose both must do so on purpose; only a cgroup or a PID namespace holds that one.

The number has two halves: who marks (a whole supervisor), and which child. A supervisor that gives itself its half marks
everything below it at once.
"""

import functools
import os
import re
import resource
import sys
from pathlib import Path
from random import SystemRandom

from msgspec import Struct

MARKER = "MILLRACE_CHILD"  # the variable; words of outer and inner marks are joined by colons
RLIMIT_LOCKS = 10  # <asm-generic/resource.h>; the resource module has no name for it
_HALF = 10**9  # decimal, so that a pattern finds one half in /proc/PID/limits
_WHOLE = _HALF - 1  # the second half of one that marks all its children
_LINE = re.compile(rb"^Max file locks +(\d+) ", re.MULTILINE)
_PROC = Path("/proc")
_random = SystemRandom()  # the same source as `secrets`, which brings a megabyte of libcrypto


class Carried(Struct, frozen=True):
    """What a process carries: its environment, None where that cannot be seen, and the number in its limits, if there is one."""

    environment: bytes | None
    number: int | None


def carried(pid: int) -> Carried:
    """What a process carries now."""
    found = _LINE.search(_read(pid, "limits") or b"")
    return Carried(_read(pid, "environ"), int(found[1]) if found else None)


class Mark(Struct, frozen=True, kw_only=True):
    """One mark. `number` is None where limits cannot carry one."""

    word: str
    number: int | None

    @property
    def pattern(self) -> str:
        """What the limits or the environment of a marked process match (extended regular expression)."""
        if self.number is None:
            return self.word
        half, which = divmod(self.number, _HALF)
        digits = f"{half}[0-9]{{9}}" if which == _WHOLE else str(self.number)
        return f"{self.word}|^Max file locks +{digits} "

    def on(self, pid: int) -> bool | None:
        """Whether a process carries it; None when that cannot be seen."""
        return self.among(carried(pid))

    def among(self, read: Carried) -> bool | None:
        """As `on`, from what was read."""
        if read.environment is not None and self.word.encode() in read.environment:
            return True
        if self.number is None or read.number is None:
            return False if read.environment else None
        half, which = divmod(self.number, _HALF)
        return read.number // _HALF == half if which == _WHOLE else read.number == self.number


def child_mark() -> Mark:
    """A mark for one child, within the half of this process if it has one."""
    number = None
    own = _own_number() if can_number() else 0
    if own is None:
        number = _fresh_half() * _HALF + _fresh_which()
    elif own % _HALF == _WHOLE:
        number = own - _WHOLE + _fresh_which()
    # Else we are somebody's child with a number of our own: what we start keeps that number, so that the outer one finds it.
    return Mark(word=_random.randbytes(12).hex(), number=number)


def own_mark() -> Mark:
    """A mark for this process and everything that it will start; `carry` puts it on."""
    number = _fresh_half() * _HALF + _WHOLE if can_number() and _own_number() is None else None
    return Mark(word=_random.randbytes(12).hex(), number=number)


def carry(mark: Mark) -> None:
    """Put a mark on this process for ever."""
    os.environ[MARKER] = joined(mark)
    if mark.number is not None:
        resource.setrlimit(RLIMIT_LOCKS, (mark.number, mark.number))


def joined(mark: Mark) -> str:
    """The value of the variable for something that we start: our own words, and its."""
    outer = os.environ.get(MARKER)
    return f"{outer}:{mark.word}" if outer else mark.word


@functools.cache
def can_number() -> bool:
    """Whether this system lets a limit carry the number; gVisor and 32-bit systems do not."""
    try:
        resource.setrlimit(RLIMIT_LOCKS, resource.getrlimit(RLIMIT_LOCKS))
        return sys.maxsize > 2**32 and b"\nMax file locks " in (_PROC / "self" / "limits").read_bytes()
    except (OSError, ValueError):
        return False


def _own_number() -> int | None:
    # The soft one, which a child has from its first moment; the hard one may be that of its supervisor for another (see `launch`).
    soft = resource.getrlimit(RLIMIT_LOCKS)[0]
    return None if soft == resource.RLIM_INFINITY else soft


def _fresh_half() -> int:
    return 10**8 + _random.randrange(8 * 10**8)


def _fresh_which() -> int:
    return _random.randrange(_WHOLE)


def _read(pid: int, name: str) -> bytes | None:
    try:
        return (_PROC / str(pid) / name).read_bytes()
    except OSError:
        return None
