"""A system call filter for untrusted programs, as the bytes of a classic BPF program (seccomp(2), linux/filter.h).

A deny-list: what no codec needs and what has let programs out of sandboxes before. Denied calls fail with EPERM, and what
newer C libraries may try first with ENOSYS, so that they fall back to what can be looked at. Everything else is allowed: an
allow-list of today's FFmpeg would break tomorrow's.
"""

import struct

from millrace.process.syscalls import NUMBERS

EPERM, ENOSYS = 1, 38
RET_ALLOW, RET_KILL, RET_ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
AUDIT_ARCH = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "riscv64": 0xC00000F3}
X32_BIT = 0x40000000
NEW_NAMESPACES = (
    0x7E020000  # CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET; a new time needs unshare
)
TIOCSTI, TIOCLINUX = 0x5412, 0x541C
AF_UNIX = 1

UNAVAILABLE = ("clone3", "io_uring_setup", "io_uring_enter", "io_uring_register")
"""Told as missing. The flags of clone3 lie in memory, where no filter can look."""
DENIED = (
    # other processes, and what they hold
    "ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "kcmp", "pidfd_getfd",
    # the tree of files
    "mount", "umount2", "pivot_root", "chroot", "open_tree", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick",
    "mount_setattr", "open_by_handle_at", "name_to_handle_at", "quotactl", "quotactl_fd", "fanotify_init",
    # namespaces
    "unshare", "setns",
    # the kernel
    "bpf", "perf_event_open", "userfaultfd", "kexec_load", "kexec_file_load", "init_module", "finit_module",
    "delete_module", "create_module", "query_module", "get_kernel_syms", "nfsservctl", "uselib", "_sysctl", "sysfs",
    "lookup_dcookie", "modify_ldt", "iopl", "ioperm", "syslog", "acct", "swapon", "swapoff", "reboot", "personality",
    # keys
    "keyctl", "add_key", "request_key",
    # the machine's clock and names
    "settimeofday", "clock_settime", "clock_adjtime", "adjtimex", "sethostname", "setdomainname",
    # pages of others
    "move_pages", "migrate_pages", "vhangup",
)  # fmt: skip

_LD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data


def _argument(index: int) -> int:
    """Where the low half of an argument lies; all architectures here are little-endian."""
    return 16 + 8 * index


def filter_program(machine: str, *, network: bool) -> bytes:
    """The program for an architecture as uname(2) names it. Without `network` only unix sockets can be made.

    Raises:
        KeyError: no numbers are known for it.
    """
    numbers = NUMBERS[machine]
    code = [
        (_LD, 0, 0, _ARCH),
        (_JEQ, 1, 0, AUDIT_ARCH[machine]),
        (_RET, 0, 0, RET_KILL),  # another architecture's numbers mean other calls
        (_LD, 0, 0, _NUMBER),
    ]
    if machine == "x86_64":
        code += [(_JGE, 0, 1, X32_BIT), (_RET, 0, 0, RET_ERRNO | ENOSYS)]
    for names, error in ((DENIED, EPERM), (UNAVAILABLE, ENOSYS)):
        for name in names:
            if name in numbers:
                code += [(_JEQ, 0, 1, numbers[name]), (_RET, 0, 0, RET_ERRNO | error)]
    code += _when(numbers["clone"], 0, [(_JSET, 0, 1, NEW_NAMESPACES), (_RET, 0, 0, RET_ERRNO | EPERM)])
    typing = [
        (_JEQ, 1, 0, TIOCSTI), (_JEQ, 0, 1, TIOCLINUX), (_RET, 0, 0, RET_ERRNO | EPERM),
    ]  # fmt: skip
    code += _when(numbers["ioctl"], 1, typing)
    if not network:
        code += _when(numbers["socket"], 0, [(_JEQ, 1, 0, AF_UNIX), (_RET, 0, 0, RET_ERRNO | EPERM)])
    code.append((_RET, 0, 0, RET_ALLOW))
    return b"".join(struct.pack("<HBBI", *instruction) for instruction in code)


def _when(number: int, argument: int, then: list[tuple[int, int, int, int]]) -> list[tuple[int, int, int, int]]:
    """For one call, look at one of its arguments; the number is loaded again after that."""
    return [
        (_JEQ, 0, len(then) + 2, number),
        (_LD, 0, 0, _argument(argument)),
        *then,
        (_LD, 0, 0, _NUMBER),
    ]
