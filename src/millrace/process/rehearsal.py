"""Whether what needs a privilege can be done, tried before the program itself would start without it.

Behind setpriv a refusal would only be an exit code that the program could have given as well. So the same chain of tools
is run once with `test -x PROGRAM` at its end: whatever the system refuses, be it by capability, user namespace or
security module, is told in its own words, and a program that the user may not execute is found too.
"""

import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path

from millrace.process.values import CannotStart, Spec

_PATIENCE_S = 10.0
_passed: set[tuple[str, ...]] = set()  # what went well once is not tried again


def rehearse(spec: Spec, program: str, compose: Callable[[str, Sequence[str]], list[str]]) -> None:
    """Raises CannotStart with the reason. `compose` makes the command line for a program and its arguments."""
    test = shutil.which("test", path=os.defpath)
    if test is None:
        raise CannotStart(f"cannot start {program}: nothing tells whether it may be run so; install `test` (coreutils)")
    command = compose(test, ("-x", program))
    key = (*command, str(spec.umask))
    if key in _passed:
        return
    try:
        done = subprocess.run(  # noqa: S603  tools of the system, and a path as data
            command, cwd=Path("/"), env={}, stdin=subprocess.DEVNULL, capture_output=True, timeout=_PATIENCE_S,
            check=False, start_new_session=True,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotStart(f"cannot start {program} as the plan says: {error}") from error
    why = done.stderr.decode("utf-8", "replace").strip().replace("\n", "; ")
    why = why.removeprefix(f"cannot execute {test}: ")  # what `enter` says; it is not what was asked for
    if not why and done.returncode:
        why = "its user may not execute it; check the permissions of the file and of the folders above it"
    if why:
        raise CannotStart(f"cannot start {program}: {why}")
    _passed.add(key)
