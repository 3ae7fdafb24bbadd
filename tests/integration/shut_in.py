"""Ways to shut a child in, as parameters of tests, and what tests of them share."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from millrace.process.able import _candidates, _try
from millrace.process.capture import Captured, capture
from millrace.process.sandbox import Able, Mechanism, Sandbox
from millrace.process.tree import processes
from millrace.process.values import Spec
from millrace.runtime.clock import SystemClock

PATIENCE_S = 60
PYTHON = os.path.realpath(sys.executable)
WAYS = ("root", "users", "bubblewrap")
"""Namespaces by root alone, with a user namespace, and those that bubblewrap makes."""


def way(name: str) -> Able:
    """How to shut in; skips the test where that does not work, and says why."""
    for candidate in _candidates():
        called = (
            "bubblewrap"
            if candidate.mechanism is Mechanism.BUBBLEWRAP
            else "users"
            if candidate.user_namespace
            else "root"
        )
        if called == name and candidate.mechanism is not Mechanism.FILTER:
            why = asyncio.run(_try(("/bin/true",), candidate, SystemClock()))
            if why is not None:
                pytest.skip(f"{name}: {why}")
            return candidate
    pytest.skip(f"{name}: this machine has no such way (not root, or no bwrap)")


def shell(line: str, sandbox: Sandbox | None, cwd: Path = Path("/")) -> Spec:
    """A shell that runs a line."""
    env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    return Spec(argv=("/bin/sh", "-c", line), cwd=cwd, env=env, sandbox=sandbox)


def python(code: str, able: Able | None, *arguments: str) -> Spec:
    """A Python that sees its own library."""
    sandbox = None if able is None else Sandbox(able=able, reads=(Path(sys.base_prefix),))
    return Spec(argv=(PYTHON, "-I", "-S", "-c", code, *arguments), cwd=Path("/"), env={}, sandbox=sandbox)


def run(spec: Spec) -> Captured:
    """Run it to its end."""
    return asyncio.run(capture(spec, clock=SystemClock(), timeout_s=PATIENCE_S))


def alive(word: str) -> list[int]:
    """Pids of living processes that have a word among their arguments."""
    found = []
    for process in processes():
        try:
            words = Path(f"/proc/{process.pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if process.alive and word.encode() in words:
            found.append(process.pid)
    return found
