"""Run as a program between fork and exec: shuts the child in, and passes on exactly how it ended.

Arguments: what to do, the number of the parent, descriptors (reports, filter), options, `--`, program and arguments. The
options are bubblewrap's own words (bwrap(1)), those that `sandbox` uses. Three processes in a row:

    outer    in our namespaces; waits, and ends as the program did
    init     PID 1 of the new PID namespace: mounts, drops every privilege, reaps; when it ends the kernel kills all others
    program  PID 2, with signals as at birth

Where bubblewrap makes the namespaces it stands between the first two. Nothing is half done: whatever the kernel refuses
goes to the descriptor for reports, which the exec of the program closes, and nothing runs. Imports nothing of Millrace, so
that it starts in the time of a bare interpreter.
"""

# No `signal`, whose enumerations cost 5 ms, a third of the start, and no `collections.abc` for the annotations.
import _signal as signal  # type: ignore[import-not-found]  # a part of the standard library without a stub
import ctypes
import os
import resource
import select
import sys

PR_SET_PDEATHSIG, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS = 1, 22, 24, 38
SECCOMP_MODE_FILTER = 2
CAPABILITY_VERSION_3 = 0x20080522
UNSHARE = {
    "--unshare-user": 0x10000000, "--unshare-pid": 0x20000000, "--unshare-net": 0x40000000,
    "--unshare-ipc": 0x08000000, "--unshare-uts": 0x04000000, "--unshare-cgroup": 0x02000000,
}  # fmt: skip
CLONE_NEWNS = 0x00020000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2
AT_FDCWD, AT_RECURSIVE = -100, 0x8000
MOUNT_SETATTR = 442  # the same number on every architecture, since Linux 5.12
PIVOT_ROOT = {"x86_64": 155, "aarch64": 41, "riscv64": 41}
CAPABILITIES = {"CAP_DAC_OVERRIDE": 1, "CAP_DAC_READ_SEARCH": 2}
OLD, NEW = "/oldroot", "/newroot"
TMP_BYTES = 64 << 20
STARTED = b"+"

_libc = ctypes.CDLL(None, use_errno=True)


class RefusedError(Exception):
    """The kernel said no; the text says to what."""


def _call(what: str, result: int) -> None:
    if result < 0:
        raise RefusedError(f"{what}: {os.strerror(ctypes.get_errno())}")


def main(arguments: list[str]) -> None:
    """Do it; returns never."""
    role, parent, reports, filter_fd, status, *rest = arguments
    at = rest.index("--")
    options, program = rest[:at], rest[at + 1 :]
    report_fd = int(reports)
    os.set_inheritable(report_fd, False)
    try:
        if role == "init":  # bubblewrap has made the namespaces and the mounts
            _init(report_fd, int(filter_fd), int(status), options, program)
        elif role == "filter":  # no namespaces: nothing to wait for
            _give_up_privileges(options, int(filter_fd))
            os.write(report_fd, STARTED)
            _become(program)
        else:
            _outer(int(parent), report_fd, int(filter_fd), options, program, bwrap=status if role == "bwrap" else None)
    except RefusedError as error:
        os.write(report_fd, str(error).encode())
    except OSError as error:
        os.write(report_fd, f"{error.filename or program[0]}: {error.strerror}".encode())
    os._exit(1)


# Outer --------------------------------------------------------------------------------------------------------------------


def _outer(
    parent: int, report_fd: int, filter_fd: int, options: list[str], program: list[str], *, bwrap: str | None
) -> None:
    # What is sent to the whole tree is for the program. Who is deaf here cannot be ended before it.
    signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    lifeline, hold = os.pipe()
    status_fd, tell = os.pipe()
    options = _resolved(options)
    if bwrap is None:
        _unshare(options)
    _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    if os.getppid() != parent:
        os._exit(1)
    first = os.fork()
    if first == 0:
        os.close(hold)
        os.close(status_fd)
        try:
            if bwrap is not None:
                _bwrap(bwrap, (report_fd, filter_fd, tell), options, program)
            _call("prctl", _libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
            if select.select([lifeline], [], [], 0)[0]:  # the one above died before that was set
                os._exit(1)
            _mount_all(options)
            _init(report_fd, filter_fd, tell, options, program)
        except RefusedError as error:
            os.write(report_fd, str(error).encode())
        except OSError as error:
            os.write(report_fd, f"{error.filename or program[0]}: {error.strerror}".encode())
        os._exit(1)
    for descriptor in (0, 1, 2, report_fd, filter_fd, tell, lifeline):  # the ends of pipes are the program's alone
        os.close(descriptor)
    told = os.read(status_fd, 64)
    os.waitpid(first, 0)
    _end_as(int(told) if told else int(signal.SIGKILL))  # whatever says nothing was killed


def _end_as(status: int) -> None:
    if not os.WIFSIGNALED(status):
        os._exit(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a core of this process would be of no use
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (number,))
    os._exit(128 + number)


def _bwrap(bwrap: str, descriptors: tuple[int, int, int], options: list[str], program: list[str]) -> None:
    """Let bubblewrap do what `_unshare` and `_mount_all` do; our own init is PID 1 there."""
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    init = (sys.executable, "-I", "-S", __file__, "init", "0", *map(str, descriptors))
    argv = (bwrap, "--die-with-parent", "--as-pid-1", *options, "--", *init, *_kept_options(options), "--", *program)
    os.execv(bwrap, argv)  # noqa: S606  a program that the caller found


def _kept_options(options: list[str]) -> list[str]:
    """What `_init` still needs of them."""
    kept = [at for at, word in enumerate(options) if word in ("--chdir", "--cap-add")]
    return [word for at in kept for word in options[at : at + 2]]


def _resolved(options: list[str]) -> list[str]:
    """Sources without symbolic links: in the new tree those would lead elsewhere."""
    found = list(options)
    for at, word in enumerate(options):
        if word in ("--ro-bind", "--bind", "--dev-bind"):
            found[at + 1] = os.path.realpath(options[at + 1])
    return found


def _unshare(options: list[str]) -> None:
    uid, gid = os.geteuid(), os.getegid()
    flags = CLONE_NEWNS
    for word in options:
        flags |= UNSHARE.get(word, 0)
    _call("namespaces", _libc.unshare(flags))
    if "--unshare-user" in options:
        # Inside as outside: one's own user and group, and nobody else (user_namespaces(7)).
        for name, text in (("setgroups", "deny"), ("uid_map", f"{uid} {uid} 1"), ("gid_map", f"{gid} {gid} 1")):
            with open(f"/proc/self/{name}", "w") as file:  # noqa: PTH123  pathlib costs 10 ms of import
                file.write(text)


# Mounts -------------------------------------------------------------------------------------------------------------------


def _mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    texts = [None if text is None else text.encode() for text in (source, target, kind, data)]
    _call(f"mount {target.removeprefix(NEW)}", _libc.mount(*texts[:3], ctypes.c_ulong(flags), texts[3]))


def _read_only(target: str) -> None:
    _set_flags(target, MS_RDONLY | MS_NOSUID | MS_NODEV)


def _set_flags(target: str, flags: int) -> None:
    # struct mount_attr: set, clear, propagation, user namespace (mount_setattr(2)); its first bits are those of MS_*.
    attributes = (ctypes.c_uint64 * 4)(flags, 0, 0, 0)
    result = _libc.syscall(
        MOUNT_SETATTR, AT_FDCWD, target.encode(), AT_RECURSIVE, ctypes.byref(attributes), ctypes.c_size_t(32)
    )
    _call(f"mount_setattr {target.removeprefix(NEW)}", result)


def _pivot_root(new: str, old: str) -> None:
    number = PIVOT_ROOT[os.uname().machine]
    _call("pivot_root", _libc.syscall(number, new.encode(), old.encode()))


def _mount_all(options: list[str]) -> None:
    """Build the tree that the options describe in a fresh file system, and make it the root."""
    base = "/tmp" if os.path.isdir("/tmp") else "/proc"  # noqa: S108, PTH112  any folder will do, it is covered
    _mount("none", "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", base, "tmpfs", MS_NOSUID | MS_NODEV, "mode=755")
    for name in (NEW, OLD):
        os.mkdir(base + name, 0o755)  # noqa: PTH102
    _mount(base + NEW, base + NEW, None, MS_BIND | MS_REC)
    _pivot_root(base, base + OLD)
    os.chdir("/")
    for at, word in enumerate(options):
        if word in _TWO:
            _TWO[word](word, options[at + 1], NEW + options[at + 2])
        elif word in _ONE:
            _ONE[word](NEW + options[at + 1])
    _call("umount", _libc.umount2(OLD.encode(), MNT_DETACH))
    os.chdir(NEW)
    _pivot_root(".", ".")
    _call("umount", _libc.umount2(b".", MNT_DETACH))
    os.chdir("/")


def _link(_: str, text: str, target: str) -> None:
    os.symlink(text, target)  # noqa: PTH211


def _proc(target: str) -> None:
    _make_folder(target)
    _mount("proc", target, "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _close_folder(target: str) -> None:
    _mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _bind(word: str, source: str, target: str) -> None:
    if os.path.isdir(OLD + source):  # noqa: PTH112
        _make_folder(target)
    else:
        _make_folder(os.path.dirname(target))  # noqa: PTH120
        if not os.path.lexists(target):
            os.close(os.open(target, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC, 0o600))
    _mount(OLD + source, target, None, MS_BIND | MS_REC)
    if word == "--ro-bind":
        _read_only(target)
    elif word == "--bind":
        _set_flags(target, MS_NOSUID | MS_NODEV)
    else:
        _set_flags(target, MS_NOSUID)


def _make_folder(target: str) -> None:
    os.makedirs(target, 0o755, exist_ok=True)  # noqa: PTH103


def _tmpfs(target: str) -> None:
    _make_folder(target)
    _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, f"mode=1777,size={TMP_BYTES}")


def _devices(target: str) -> None:
    _make_folder(target)
    _mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755")
    for name in ("null", "zero", "full", "random", "urandom"):
        _bind("--dev-bind", f"/dev/{name}", f"{target}/{name}")
    _link("", "/proc/self/fd", f"{target}/fd")
    _tmpfs(f"{target}/shm")


_ONE = {"--tmpfs": _tmpfs, "--proc": _proc, "--dev": _devices, "--dir": _make_folder, "--remount-ro": _close_folder}
_TWO = {"--ro-bind": _bind, "--bind": _bind, "--dev-bind": _bind, "--symlink": _link}


# Init and program ---------------------------------------------------------------------------------------------------------


def _init(report_fd: int, filter_fd: int, tell: int, options: list[str], program: list[str]) -> None:
    os.set_inheritable(tell, False)
    os.chdir(options[options.index("--chdir") + 1])
    _give_up_privileges(options, filter_fd)
    os.write(report_fd, STARTED)
    child = os.fork()
    if child == 0:
        try:
            _become(program)
        except OSError as error:
            os.write(report_fd, f"{program[0]}: {error.strerror}".encode())
        os._exit(1)
    for descriptor in (0, 1, 2, report_fd):
        os.close(descriptor)
    while True:
        ended, status = os.wait()  # children of the program come here when it dies before them
        if ended == child:
            os.write(tell, str(status).encode())
            os._exit(0)


def _become(program: list[str]) -> None:
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # ignored by every Python
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    os.execv(program[0], program)  # noqa: S606  this is what the program is for


def _give_up_privileges(options: list[str], filter_fd: int) -> None:
    """No capability, none to be had by any exec, and no system call that the filter denies."""
    kept = 0
    for at, word in enumerate(options):
        if word == "--cap-add":
            kept |= 1 << CAPABILITIES[options[at + 1]]
    for number in range(64):
        if not kept >> number & 1:
            _libc.prctl(PR_CAPBSET_DROP, number, 0, 0, 0)  # refused to whoever has no privilege to lose
    header = (ctypes.c_uint32 * 2)(CAPABILITY_VERSION_3, 0)
    held = (ctypes.c_uint32 * 6)()
    _call("capget", _libc.capget(ctypes.byref(header), ctypes.byref(held)))
    low = held[1] & kept  # no more than it has
    data = (ctypes.c_uint32 * 6)(low, low, 0, 0, 0, 0)  # effective, permitted, inheritable: 0 to 31, then 32 to 63
    _call("capset", _libc.capset(ctypes.byref(header), ctypes.byref(data)))
    _call("no_new_privs", _libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    with open(filter_fd, "rb") as file:
        code = ctypes.create_string_buffer(file.read())

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("code", ctypes.c_void_p))

    fprog = Program((len(code) - 1) // 8, ctypes.addressof(code))
    _call("seccomp", _libc.prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(fprog), 0, 0))


if __name__ == "__main__":
    main(sys.argv[1:])
