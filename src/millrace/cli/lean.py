"""Where a supervisor begins, so that it stays small: what reads the command line and the plan is a process of its own.

Reading takes as many modules as keeping, and is over in a tenth of a second. So the program forks before either is imported:
the child is the command line as ever, with its errors and its exit codes, and sends the order that it makes of it; the
parent, which keeps its pid, meanwhile imports what keeps processes.
"""

import gc
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from millrace.cli.ending import end_with, leave
from millrace.cli.failure import FAILED, CommandError
from millrace.process.signals import END, STRAY, be_deaf
from millrace.runtime.deferred import defer

if TYPE_CHECKING:
    from millrace.cli.order import Order

SELDOM = (
    # TLS is for probes of https, and for a control API beyond this machine.
    "ssl", "asyncio.sslproto", "asyncio.staggered",
    # Schedules.
    "cronsim", "zoneinfo", "calendar",
    # Probes over HTTP; sockets of notify; a shell's PATH.
    "httptools", "ipaddress", "tempfile", "shutil",
    # Tracebacks.
    "linecache", "tokenize", "textwrap",
    # Profiles of tuning.
    "importlib.resources", "yaml",
    # An access file; changes of processes over the API.
    "millrace.supervisor.yaml_text", "millrace.supervisor.plans.definition", "millrace.supervisor.plans.layering",
    # What others import, and hardly use.
    "inspect", "json", "locale", "bz2", "lzma", "msgspec.inspect", "py_compile", "importlib.util",
)  # fmt: skip
"""Modules that most supervisors never use, 4 MB together."""


class _Pipe:
    end = -1  # where the order goes; -1 where nobody waits for one


def run() -> None:
    """Read the command line in a child, and do as it says; ends the program with its exit code."""
    _heed_until_it_is_up()
    # As for the command line (see `app`), until the supervisor is up.
    gc.disable()
    defer(SELDOM)
    # msgspec would take its better-known functions from there, and does without.
    sys.modules.setdefault("typing_extensions", None)  # type: ignore[arg-type]  # None: there is none
    from millrace.cli import order  # noqa: F401, PLC0415  what both need

    if sys.modules["typing_extensions"] is None:
        del sys.modules["typing_extensions"]
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, the kernel would throw away how the reader ended
    begin, end = os.pipe()
    try:
        reader = os.fork()
    except OSError:  # then it reads for itself, and is bigger
        _read()
    if not reader:
        if os.getppid() == 1:
            for number in END:
                signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        _end_with_the_other()
        os.close(begin)
        _Pipe.end = end
        _read()
    os.close(end)
    end_with(lambda: _keep(begin, reader))


def _heed_until_it_is_up() -> None:
    """Nothing runs yet, so a stray signal, or a reload of what is not there, must not end us.

    To PID 1 the kernel gives no signal that it does not catch: it would be killed instead, when the patience of its host is over.
    """
    be_deaf(STRAY - {signal.SIGHUP} if sys.stdin is not None and sys.stdin.isatty() else STRAY)
    if os.getpid() == 1:
        for number in END:
            signal.signal(number, lambda *_: os._exit(0))


def _end_with_the_other() -> None:
    """Or a plan that never comes would be waited for when nobody wants it any more: a signal that comes just before the read of
    a pipe begins is not heard in it.
    """
    import ctypes  # noqa: PLC0415  the parent has no use for it

    ctypes.CDLL(None).prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG, prctl(2)


def _read() -> NoReturn:
    from millrace.cli.app import run  # noqa: PLC0415  the parent never needs it

    run()


def hand_over(order: "Order") -> None:
    """Send an order to the process that waits for it, and end. Returns only where none waits."""
    if _Pipe.end < 0:
        return
    with open(_Pipe.end, "wb") as pipe:
        pipe.write(order.packed())
    os._exit(0)  # nothing was printed, and to clean up takes as long as to read


def _keep(begin: int, reader: int) -> int:
    # Imported while the other reads.
    from millrace.cli.order import Order  # noqa: PLC0415
    from millrace.programs import supervise  # noqa: F401, PLC0415

    with open(begin, "rb") as pipe:
        data = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(reader, 0)[1])
    if data and not code:
        code = Order.unpacked(data).carried_out()
        leave(code)
    if code < 0:
        raise CommandError(
            f"cannot read the plan: what reads it was ended by {signal.Signals(-code).name}", code=FAILED
        )
    return code
