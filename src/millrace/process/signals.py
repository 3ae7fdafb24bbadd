"""What a child inherits of our signals: nothing. Whoever started us may have blocked or ignored some (`nohup`, a shell's `&`).

Python itself ignores SIGPIPE and SIGXFSZ; `subprocess` gives those back to a child.
"""

import signal
from collections.abc import Iterable
from types import FrameType

_NAMED = ("HUP", "USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "XCPU", "STKFLT")  # the last is not everywhere
STRAY = frozenset(
    {int(signal.Signals[f"SIG{name}"]) for name in _NAMED if hasattr(signal, f"SIG{name}")}
    | set(range(signal.SIGRTMIN, signal.SIGRTMAX + 1))
)
"""Each would end us, and with us everything, by a stray word. PIPE and XFSZ are ignored by Python, and what tells a program
of its own faults does what it does to every program."""
END = frozenset({signal.SIGTERM, signal.SIGINT, signal.SIGQUIT})
_PYTHONS = {signal.SIGPIPE, signal.SIGXFSZ}


def inherit_nothing() -> None:
    """Unblock every signal, and catch those that are ignored instead: an exec sets what is caught back to its default.

    For a program that starts others and never execs itself; from its main thread. What was ignored stays without effect
    on us.
    """
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(
        signal.SIGCHLD, signal.SIG_DFL
    )  # ignored, the kernel would throw the exit status of our children away
    for number in signal.valid_signals():
        if number not in _PYTHONS and signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, _nothing)


def be_deaf(numbers: Iterable[int]) -> None:
    """Let these do nothing, to us alone: what we start gets them as ever."""
    for number in numbers:
        signal.signal(number, _nothing)


def _nothing(number: int, frame: FrameType | None) -> None:
    """Be deaf to it."""
