"""From a Spec with a sandbox to the command that shuts its program in."""

import functools
import importlib.util
import os
import py_compile
import struct
import sys
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from millrace.process.sandbox import Host, Mechanism, Sandbox, options
from millrace.process.seccomp import filter_program
from millrace.process.values import CannotStart, Spec

_CONFINE = Path(__file__).with_name("confine.py")
_SHOWN = (
    "/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/nix/store", "/gnu/store",
    "/etc/ld.so.cache", "/etc/alternatives", "/etc/fonts", "/etc/localtime",
)  # fmt: skip
_ROLES = {Mechanism.NAMESPACES: "namespaces", Mechanism.BUBBLEWRAP: "bwrap", Mechanism.FILTER: "filter"}
STARTED = b"+"
"""What `confine` reports first, when all that is left is to become the program."""


class Enclosed(Struct, frozen=True, kw_only=True):
    """A program with arguments, and a descriptor that it inherits: whoever made it closes it after the spawn."""

    argv: tuple[str, ...]
    filter_fd: int


def enclose(spec: Spec, sandbox: Sandbox, program: str, *, report_fd: int) -> Enclosed:
    """The command, which must be a child of this process. Raises CannotStart."""
    machine = os.uname().machine
    try:
        code = filter_program(machine, network=sandbox.network)
    except KeyError:
        raise CannotStart(f"cannot shut {program} in: no system call numbers are known for {machine}") from None
    python = os.path.realpath(sys.executable)
    able = sandbox.able
    words = options(sandbox, host=_host(able.mechanism), program=Path(program), cwd=spec.cwd)
    filter_fd, end = os.pipe()
    with open(end, "wb") as file:  # noqa: PTH123  it fits into the pipe
        file.write(code)
    numbers = (str(os.getpid()), str(report_fd), str(filter_fd))
    # -I and -S: no site packages and nothing of the environment, which belongs to the child.
    return Enclosed(
        argv=(
            *(
                python,
                "-I",
                "-S",
                str(bytecode_of(_CONFINE)),
                _ROLES[able.mechanism],
                *numbers,
                able.bwrap or "-",
                *words,
            ),
            *("--", program, *spec.argv[1:]),
        ),
        filter_fd=filter_fd,
    )


@functools.cache
def bytecode_of(source: Path) -> Path:
    """The same program as bytecode, or `source` where that cannot be kept: compiling takes a third of its start (21 ms against 15)."""
    kept, stat = Path(importlib.util.cache_from_source(str(source))), source.stat()
    # The head of bytecode that belongs to a source by time and size (PEP 552).
    head = importlib.util.MAGIC_NUMBER + struct.pack("<3L", 0, int(stat.st_mtime), stat.st_size)
    with suppress(OSError), kept.open("rb") as file:
        if file.read(len(head)) == head:
            return kept
    if not sys.dont_write_bytecode:
        with suppress(OSError):  # an installation that belongs to somebody else
            py_compile.compile(str(source), str(kept), doraise=True)
            return kept
    return source


@functools.cache
def _host(mechanism: Mechanism) -> Host:
    shown = [Path(path) for path in _SHOWN if Path(path).exists()]
    links = [(str(path.readlink()), path) for path in shown if path.is_symlink() and len(path.parts) == 2]
    plain = [path for path in shown if path not in {link for _, link in links}]
    if mechanism is Mechanism.BUBBLEWRAP:  # our init runs inside
        plain += [Path(sys.base_prefix), Path(os.path.realpath(sys.executable)).parent, bytecode_of(_CONFINE)]
    return Host(shown=tuple(plain), links=tuple(links))
