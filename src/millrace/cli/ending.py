"""How every command ends: the one place where errors become sentences and exit codes."""

import atexit
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from millrace.cli.failure import CommandError
from millrace.cli.main import INTERRUPTED
from millrace.runtime.no_space import NO_SPACE

_MASTERS = "Start one with `millrace up`, or name its address with --master or MILLRACE_MASTER"


def end_with(work: Callable[[], object]) -> NoReturn:
    """Do the work, and end the program with the exit code that it gives (0 where that is no number)."""
    try:
        code = work()
        sys.stdout.flush()
    except KeyboardInterrupt:
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output has gone: nothing is left to say, and nobody to say it to.
        code = 0
    except Exception as error:  # noqa: BLE001  what the rooms raise for users is sorted out in one place
        code = _tell(error)
    _drop_unwritten()
    _end(code if isinstance(code, int) else 0)


def _end(code: int) -> NoReturn:
    threading = sys.modules.get("threading")
    if threading is not None and threading.active_count() > 1:  # of a command that left something running
        sys.exit(code)
    leave(code)


def leave(code: int) -> NoReturn:
    """End a program that has closed everything. To take the interpreter apart object by object, 16 ms, is left to the kernel."""
    atexit._run_exitfuncs()  # noqa: SLF001  the module offers no other way
    _drop_unwritten()
    os._exit(code)


def _drop_unwritten() -> None:
    """Forget what can be written nowhere, or Python tries once more at its end, complains, and exits with 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, stream.fileno())
            os.close(nowhere)


def _tell(error: Exception) -> int:
    """Say in a sentence what went wrong and give the exit code; what is none of the known kinds is raised again."""
    if isinstance(error, CommandError):
        _complain(str(error))
        return error.code
    from millrace.client.errors import ClientError  # noqa: PLC0415  most commands end well and never need them
    from millrace.config.errors import SettingError  # noqa: PLC0415
    from millrace.programs.exhausted import ExhaustedError  # noqa: PLC0415

    if isinstance(error, SettingError):
        _complain(str(error))
        return 2
    if isinstance(error, ExhaustedError):
        _complain(str(error))
        return 1
    if isinstance(error, OSError) and error.errno in NO_SPACE:
        _complain(f"cannot write what was found: {error.strerror}")
        return 1
    if isinstance(error, ClientError):
        _complain(_sentence(error))
        return 1
    raise error


def _complain(sentence: str) -> None:
    with suppress(OSError):  # the exit code tells of it all the same
        sys.stderr.write(f"millrace: {sentence}\n")


def _sentence(error: Exception) -> str:
    """What is wrong; of a refusal with findings, each on a line of its own with what would be right."""
    from millrace.client.errors import RefusedError, UnreachableError, UntrustedError  # noqa: PLC0415

    if isinstance(error, UnreachableError) and not isinstance(error, UntrustedError):
        said = str(error)
        return f"{said}{' ' if said.endswith('?') else '. '}{_MASTERS}"
    if not isinstance(error, RefusedError) or not error.errors:
        return str(error)
    lines = [
        f"  {finding.field}: {finding.message}"
        + (f" (allowed: {', '.join(finding.allowed)})" if finding.allowed else "")
        for finding in error.errors
    ]
    return "\n".join(["the master refuses this:", *lines])
