"""What an engine that a film has taken over would try, from inside the sandbox. Each attempt is first seen to succeed outside."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from msgspec.structs import replace
from shut_in import WAYS, python, run, way

from millrace.process.sandbox import Sandbox
from millrace.process.values import Limits, Spec

BEGIN = """
import ctypes, fcntl, mmap, os, resource, signal, socket, struct, sys, time
libc = ctypes.CDLL(None, use_errno=True)
def call(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
try:
"""
END = """
    print("done")
except Exception as error:
    print("refused", getattr(error, "errno", type(error).__name__))
"""
"""An attack prints `done` where it succeeded."""


def attack(code: str, *arguments: str) -> Spec:
    body = "".join(f"    {line}\n" for line in code.strip().splitlines())
    return python(BEGIN + body + END, None, *arguments)


@contextmanager
def victim() -> Iterator[str]:
    """Another job's process: its pid, with a secret in its environment."""
    with subprocess.Popen(["/bin/sleep", "600"], env={"SECRET": "the-secret"}) as other:
        yield str(other.pid)
        other.kill()


@contextmanager
def temporary() -> Iterator[str]:
    """Another job's temporary file."""
    with tempfile.NamedTemporaryFile("w") as file:
        file.write("the-secret")
        file.flush()
        yield file.name


@contextmanager
def shared() -> Iterator[str]:
    """Another job's piece of shared memory (System V)."""
    libc = ctypes.CDLL(None, use_errno=True)
    key = os.getpid() | 0x4D000000
    number = libc.shmget(key, 4096, 0o1600)
    yield str(key)
    libc.shmctl(number, 0, None)


@contextmanager
def posix_shared() -> Iterator[str]:
    """The same, as POSIX has it."""
    path = Path("/dev/shm") / f"millrace-test-{os.getpid()}"
    path.write_text("the-secret")
    yield str(path)
    path.unlink()


ATTACKS: dict[str, tuple[str, Callable[[], object] | None]] = {
    "ptrace of another": ("call(libc.ptrace(16, int(sys.argv[1]), 0, 0))", victim),
    "environment of another": ("assert b'the-secret' in open(f'/proc/{sys.argv[1]}/environ', 'rb').read()", victim),
    "memory of another": ("open(f'/proc/{sys.argv[1]}/mem', 'rb').close()", victim),
    "folder of another": ("os.listdir(f'/proc/{sys.argv[1]}/cwd')", victim),
    "signal to another": ("os.kill(int(sys.argv[1]), 0)", victim),
    "niceness of another": ("os.setpriority(os.PRIO_PROCESS, int(sys.argv[1]), 19)", victim),
    "limits of another": ("resource.prlimit(int(sys.argv[1]), resource.RLIMIT_NOFILE)", victim),
    "temporary file of another": ("assert open(sys.argv[1]).read() == 'the-secret'", temporary),
    "shared memory of another": ("call(libc.shmget(int(sys.argv[1]), 4096, 0))", shared),
    "named shared memory of another": ("assert open(sys.argv[1]).read() == 'the-secret'", posix_shared),
    "root of another": ("assert 'home' in os.listdir(f'/proc/{sys.argv[1]}/root')", victim),
    "mount in a user namespace": (
        "call(libc.unshare(0x10020000))\ncall(libc.mount(b'x', b'/tmp', b'tmpfs', 0, None))",
        None,
    ),
    "program in the kernel": (
        # bpf(BPF_MAP_CREATE), an array of one number
        "attributes = struct.pack('<IIII', 2, 4, 4, 1) + bytes(48)\ncall(libc.syscall(321, 0, attributes, len(attributes)))",
        None,
    ),
    "ring of system calls": ("call(libc.syscall(425, 4, ctypes.create_string_buffer(120)))", None),
    "keyring": ("call(libc.syscall(248, b'user', b'x', b'y', 1, -3))", None),  # add_key into the session's
    "socket to the web": ("socket.create_server(('127.0.0.1', 0)).close()", None),
    "raw packets": ("socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0).close()", None),
    "disk": ("os.open('/dev/' + next(n for n in os.listdir('/dev') if n.startswith(('vd', 'sd', 'loop', 'nvme'))), os.O_RDONLY)", None),
    "terminal of the machine": ("os.open('/dev/console' if os.path.exists('/dev/console') else '/dev/tty0', os.O_RDONLY | os.O_NONBLOCK)", None),
    "settings of the kernel": ("open('/proc/sys/kernel/core_pattern', 'r+').close()", None),
    "dead weight on the disk": ("open('/var/tmp/millrace-attack', 'w').close(); os.unlink('/var/tmp/millrace-attack')", None),
    "another name": ("call(libc.sethostname(*(lambda n: (n, len(n)))(os.uname().nodename.encode())))", None),
    "the clock": ("now = time.clock_gettime(0); time.clock_settime(0, now)", None),
    "a device of its own": ("os.mknod('/tmp/m', 0o20600, os.makedev(1, 3)); os.close(os.open('/tmp/m', os.O_RDONLY)); os.unlink('/tmp/m')", None),
}  # fmt: skip
NEED_MORE = {
    "program in the kernel",
    "ring of system calls",
    "disk",
    "terminal of the machine",
    "the clock",
    "another name",
    "settings of the kernel",
}
"""What a machine or its container may refuse to everybody."""


def outcome(spec: Spec) -> str:
    done = run(spec)
    return done.stdout.strip() or f"{done.exit} {done.stderr[-300:]}"


@pytest.mark.parametrize("name", ATTACKS)
def test_what_succeeds_outside_is_refused_inside(name: str) -> None:
    code, needs = ATTACKS[name]
    inside = way("root" if os.getuid() == 0 else "users")
    with ExitStack() as stack:
        arguments = [stack.enter_context(needs())] if needs is not None else []  # type: ignore[arg-type]
        spec = attack(code, *arguments)
        outside = outcome(spec)
        if name in NEED_MORE and outside != "done":
            pytest.skip(f"this machine lets nobody: {outside}")
        assert outside == "done"
        sandbox = Sandbox(able=inside, reads=(Path(sys.base_prefix),))
        assert outcome(replace(spec, sandbox=sandbox)).startswith("refused")


TYPING = """
import fcntl, os, pty, sys, termios
leader, follower = pty.openpty()
try:
    fcntl.ioctl(follower, termios.TIOCSTI, b"x")
    print("done")
except OSError as error:
    print("refused", error.errno)
"""


@pytest.mark.parametrize("name", WAYS)
def test_nothing_is_typed_into_a_terminal(name: str) -> None:
    """There is none inside, and the call is denied before anybody looks for one: to who asks with no terminal at all."""
    code = TYPING.replace("pty.openpty()", "(0, 0)")
    plain = outcome(python(code, None))
    assert plain == "refused 25"  # ENOTTY: the kernel looked
    assert outcome(python(code, way(name))) == "refused 1"  # EPERM: it did not


@pytest.mark.parametrize("name", WAYS)
def test_a_program_that_makes_whoever_starts_it_root_does_not(tmp_path: Path, name: str) -> None:
    code = "print(open('/proc/self/status').read().split('NoNewPrivs:')[1].split()[0])"
    assert outcome(python(code, None)) == "0"
    assert outcome(python(code, way(name))) == "1"


@pytest.mark.parametrize("name", WAYS)
def test_a_crash_leaves_no_core(tmp_path: Path, name: str) -> None:
    inside = python("import os; os.abort()", way(name))
    done = run(replace(inside, limits=Limits(core_bytes=0)))
    assert done.exit.signal == signal.SIGABRT
    assert not done.exit.core_dumped


@pytest.mark.parametrize(
    ("code", "limits", "says"),
    [
        ("open('/tmp/m', 'wb').write(bytes(5_000_000))", Limits(file_size_bytes=1_000_000), "27"),
        ("bytearray(300_000_000)", Limits(data_bytes=100_000_000), "MemoryError"),
        ("[os.open('/dev/null', os.O_RDONLY) for _ in range(500)]", Limits(open_files=100), "24"),
        ("while True: pass", Limits(cpu_s=1), "SIG"),
    ],
    ids=["disk", "memory", "files", "cpu"],
)
def test_who_takes_too_much_is_ended(code: str, limits: Limits, says: str) -> None:
    inside = way("root" if os.getuid() == 0 else "users")
    spec = attack(code)
    if "while" not in code:
        assert outcome(spec) == "done"
        Path("/tmp/m").unlink(missing_ok=True)
    shut = replace(spec, sandbox=Sandbox(able=inside, reads=(Path(sys.base_prefix),)), limits=limits)
    assert says in outcome(shut)


@pytest.mark.parametrize("name", WAYS)
def test_its_temporary_folder_is_small(name: str) -> None:
    """64 MiB: who fills it fills nobody else's."""
    code = "with open('/tmp/millrace-fill', 'wb') as f:\n    [f.write(bytes(1_000_000)) for _ in range(100)]"
    spec = attack(code)
    assert outcome(spec) == "done"
    Path("/tmp/millrace-fill").unlink()
    inside = Sandbox(able=way(name), reads=(Path(sys.base_prefix),))
    assert outcome(replace(spec, sandbox=inside)) == "refused 28"
    assert not Path("/tmp/millrace-fill").exists()
