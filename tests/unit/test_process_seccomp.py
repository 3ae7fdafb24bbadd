"""What a sandbox is made of, without making one: options, the record, and the filter run by a small BPF machine."""

import struct
from pathlib import Path

import pytest

from millrace.process import seccomp
from millrace.process.sandbox import Able, Host, Mechanism, Sandbox, confinement, options
from millrace.process.syscalls import NUMBERS

HOST = Host(shown=(Path("/usr"), Path("/etc/ld.so.cache")), links=(("usr/bin", Path("/bin")),))
ROOT = Able(mechanism=Mechanism.NAMESPACES)
USER = Able(mechanism=Mechanism.NAMESPACES, user_namespace=True)
FILTER = Able(mechanism=Mechanism.FILTER, refused=("namespaces: no",))


def made(sandbox: Sandbox) -> tuple[str, ...]:
    return options(sandbox, host=HOST, program=Path("/opt/x/ffmpeg"), cwd=Path("/job/out"))


def test_the_options_are_bubblewraps_words_in_the_order_in_which_they_are_done() -> None:
    sandbox = Sandbox(able=USER, reads=(Path("/job/out/film"), Path("/media/a.mp4")), writes=(Path("/job/out"),))
    assert made(sandbox) == (
        *("--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-user", "--unshare-net", "--cap-drop", "ALL"),
        *("--symlink", "usr/bin", "/bin"),
        *("--tmpfs", "/tmp", "--dev", "/dev", "--proc", "/proc", "--remount-ro", "/proc"),
        *("--ro-bind", "/usr", "/usr"),
        *("--ro-bind", "/etc/ld.so.cache", "/etc/ld.so.cache"),
        *("--ro-bind", "/opt/x", "/opt/x"),
        *("--ro-bind", "/media/a.mp4", "/media/a.mp4"),
        *("--bind", "/job/out", "/job/out"),
        *("--ro-bind", "/job/out/film", "/job/out/film"),  # after the folder that it lies in, or it could be written
        *("--dir", "/job/out", "--remount-ro", "/", "--chdir", "/job/out"),
    )


def test_only_who_asks_has_a_network_or_devices() -> None:
    assert "--unshare-net" not in made(Sandbox(able=USER, network=True))
    assert "--dev-bind" not in made(Sandbox(able=USER))
    words = made(Sandbox(able=USER, devices=(Path("/dev/dri/renderD128"),)))
    at = words.index("--dev-bind")
    assert words[at + 1] == "/dev/dri/renderD128"
    assert at > words.index("--dev")  # which would cover it


def test_root_without_users_of_its_own_keeps_only_what_reads_films_of_others() -> None:
    words = made(Sandbox(able=ROOT))
    assert "--unshare-user" not in words
    assert [words[at + 1] for at, word in enumerate(words) if word == "--cap-add"] == ["CAP_DAC_READ_SEARCH"]
    assert "--cap-add" not in made(Sandbox(able=USER))


def test_without_namespaces_nothing_is_mounted() -> None:
    words = made(Sandbox(able=FILTER, reads=(Path("/media/a.mp4"),)))
    assert not any(word.startswith(("--unshare", "--bind", "--ro-bind", "--tmpfs")) for word in words)


@pytest.mark.parametrize(
    ("sandbox", "in_force", "missing"),
    [
        (None, None, "it is switched off"),
        (Sandbox(able=Able(mechanism=Mechanism.NONE, refused=("filter: no",))), None, "filter: no"),
        (Sandbox(able=FILTER), "system call filter", "namespaces: no"),
        (Sandbox(able=FILTER), "no network", "files hidden"),
        (Sandbox(able=USER), "users of its own", None),
        (Sandbox(able=ROOT), "files hidden", None),
        (Sandbox(able=ROOT), "no network", None),
    ],
)
def test_the_record_says_what_holds_and_what_does_not_and_why(
    sandbox: Sandbox | None, in_force: str | None, missing: str | None
) -> None:
    record = confinement(sandbox)
    assert (in_force in record.in_force) if in_force else record.in_force == ()
    assert (missing in record.missing) if missing else record.missing == ()
    assert (missing or in_force or "") in str(record)


def test_the_record_never_claims_what_is_not_there() -> None:
    assert "no network" not in confinement(Sandbox(able=USER, network=True)).in_force
    assert "users of its own" not in confinement(Sandbox(able=ROOT)).in_force
    assert "no capabilities" in confinement(Sandbox(able=USER)).in_force
    for able in (ROOT, FILTER):
        assert "no capabilities" not in confinement(Sandbox(able=able)).in_force


# The filter ---------------------------------------------------------------------------------------------------------------


def judge(program: bytes, arch: int, number: int, *arguments: int) -> int:
    """What the kernel would answer: classic BPF over struct seccomp_data, as in seccomp(2)."""
    data = struct.pack("<iIQ6Q", number, arch, 0, *arguments, *[0] * (6 - len(arguments)))
    code = [struct.unpack_from("<HBBI", program, at) for at in range(0, len(program), 8)]
    accumulator = at = 0
    while True:
        operation, if_true, if_false, value = code[at]
        at += 1
        if operation == 0x20:
            accumulator = struct.unpack_from("<I", data, value)[0]
        elif operation == 0x06:
            return value
        else:
            holds = {0x15: accumulator == value, 0x35: accumulator >= value, 0x45: accumulator & value}[operation]
            at += if_true if holds else if_false


def denied(error: int) -> int:
    return seccomp.RET_ERRNO | error


@pytest.mark.parametrize("machine", sorted(NUMBERS))
@pytest.mark.parametrize("network", [False, True])
def test_the_filter_denies_what_it_lists_and_nothing_else(machine: str, network: bool) -> None:
    program, numbers, arch = (
        seccomp.filter_program(machine, network=network),
        NUMBERS[machine],
        seccomp.AUDIT_ARCH[machine],
    )
    expected = {numbers[name]: denied(1) for name in seccomp.DENIED if name in numbers}
    expected |= {numbers[name]: denied(38) for name in seccomp.UNAVAILABLE if name in numbers}
    if not network:
        expected[numbers["socket"]] = denied(1)  # of family 0
    for number in range(600):
        assert judge(program, arch, number) == expected.get(number, seccomp.RET_ALLOW), number


@pytest.mark.parametrize("machine", sorted(NUMBERS))
def test_the_filter_looks_at_arguments(machine: str) -> None:
    program, numbers, arch = (
        seccomp.filter_program(machine, network=False),
        NUMBERS[machine],
        seccomp.AUDIT_ARCH[machine],
    )
    threads = 0x3D0F00  # as pthread_create asks for them
    assert judge(program, arch, numbers["clone"], threads) == seccomp.RET_ALLOW
    for bit in (0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000):
        assert judge(program, arch, numbers["clone"], bit | 17) == denied(1)
    assert judge(program, arch, numbers["ioctl"], 0, 0x5401) == seccomp.RET_ALLOW  # TCGETS
    assert judge(program, arch, numbers["ioctl"], 0, 0x5412) == denied(1)  # TIOCSTI
    assert judge(program, arch, numbers["ioctl"], 0, 0x541C) == denied(1)  # TIOCLINUX
    assert judge(program, arch, numbers["socket"], 1) == seccomp.RET_ALLOW
    for family in (2, 10, 16, 17, 40):  # inet, inet6, netlink, packet, vsock
        assert judge(program, arch, numbers["socket"], family) == denied(1)
    open_network = seccomp.filter_program(machine, network=True)
    assert judge(open_network, arch, numbers["socket"], 2) == seccomp.RET_ALLOW


@pytest.mark.parametrize("machine", sorted(NUMBERS))
def test_another_architectures_calls_kill(machine: str) -> None:
    program = seccomp.filter_program(machine, network=False)
    assert judge(program, 0x40000003, 1) == seccomp.RET_KILL  # i386


def test_x32_is_no_way_around() -> None:
    program = seccomp.filter_program("x86_64", network=False)
    hidden = seccomp.X32_BIT | NUMBERS["x86_64"]["mount"]
    assert judge(program, seccomp.AUDIT_ARCH["x86_64"], hidden) == denied(38)


def test_an_unknown_machine_has_no_filter() -> None:
    with pytest.raises(KeyError):
        seccomp.filter_program("vax", network=False)
