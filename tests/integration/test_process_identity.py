"""Another user, umask, niceness, score and limits: in force from the first instruction, or refused with the reason."""

import asyncio
import grp
import os
import pwd
import resource
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from millrace.process.capture import Captured, capture
from millrace.process.child import Child
from millrace.process.identity import identity
from millrace.process.launch import Tools, find_tools
from millrace.process.values import CannotStart, Limits, RunAs, Spec
from millrace.runtime.clock import SystemClock

ROOT_ONLY = pytest.mark.skipif(os.getuid() != 0, reason="only root may become somebody else")
BARE = Tools(setpriv=None, prlimit=None, nice=None)
WITHOUT = "launch.find_tools = lambda: launch.Tools(setpriv=None, prlimit=None, nice=None)"
SHOW = (
    "import os, re\n"
    "print('nice', os.nice(0))\n"
    "print('score', open('/proc/self/oom_score_adj').read().strip())\n"
    "print('nofile', re.search(r'(?m)^Max open files +(\\S+) +(\\S+)', open('/proc/self/limits').read()).groups())\n"
)


@pytest.fixture(params=["found", "bare"])
def tools(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With util-linux, and without it."""
    if request.param == "bare":
        monkeypatch.setattr("millrace.process.launch.find_tools", lambda: BARE)
    return str(request.param)


def run(spec: Spec) -> Captured:
    return asyncio.run(capture(spec, clock=SystemClock(), timeout_s=60))


def shown(done: Captured) -> dict[str, str]:
    assert done.exit.ok, (done.exit, done.stderr)
    return {line.split(" ")[0]: line.partition(" ")[2] for line in done.stdout.splitlines()}


@ROOT_ONLY
@pytest.mark.usefixtures("tools")
def test_another_user_has_nothing_of_ours() -> None:
    who = RunAs(uid=65534, gid=12345, groups=(5, 12345))
    show = "grep -E '^(Uid|Gid|Groups|CapEff):' /proc/self/status | tr -d : | tr -s '\\t ' ' '; echo umask $(umask)"
    seen = shown(run(Spec(argv=("sh", "-c", show), cwd=Path("/"), run_as=who, umask=0o077)))
    assert seen["Uid"] == "65534 65534 65534 65534"
    assert seen["Gid"] == "12345 12345 12345 12345"
    assert seen["Groups"].split() == ["5", "12345"]
    assert int(seen["CapEff"], 16) == 0
    assert seen["umask"] == "0077"


@pytest.mark.usefixtures("tools")
def test_limits_niceness_and_score_are_just_those_asked_for() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    fewer = min(soft, hard) - 1
    seen = shown(
        run(
            Spec(
                argv=(sys.executable, "-I", "-S", "-c", SHOW), cwd=Path("/"), nice=4, oom_score_adj=900,
                limits=Limits(exact=True, open_files=fewer),
            )
        )
    )  # fmt: skip
    assert seen["nofile"] == str((str(fewer), str(fewer)))
    assert seen["nice"] == str(os.nice(0) + 4)
    assert seen["score"] == "900"


@ROOT_ONLY
def test_a_child_of_another_user_dies_with_us_and_is_stopped(tools: str) -> None:
    async def scene() -> None:
        spec = Spec(argv=("sleep", "1000"), cwd=Path("/"), run_as=RunAs(uid=65534, gid=65534, groups=()))
        child = await Child.start(spec, clock=SystemClock())
        assert (await child.stop(60)).signal == signal.SIGTERM

    asyncio.run(scene())
    code = (
        "import asyncio\nfrom pathlib import Path\nfrom millrace.process import launch\n"
        "from millrace.process.child import Child\n"
        "from millrace.process.values import RunAs, Spec\nfrom millrace.runtime.clock import SystemClock\n"
        f"{WITHOUT if tools == 'bare' else ''}\n"
        "async def main():\n"
        "    async def sink(batch): print(batch.lines[0].text, flush=True)\n"
        "    spec = Spec(argv=('sh', '-c', 'echo $$; exec sleep 1000'), cwd=Path('/'),"
        " run_as=RunAs(uid=65534, gid=65534, groups=()))\n"
        "    await (await Child.start(spec, clock=SystemClock(), sink=sink)).wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        descriptor = os.pidfd_open(pid)
        parent.kill()
    # The kernel clears the death signal at a change of user; it was set again.
    assert select.select([descriptor], [], [], 60)[0]
    os.close(descriptor)


def test_names_become_numbers_with_all_groups() -> None:
    account = pwd.getpwuid(os.getuid())
    found = identity(account.pw_name, None)
    assert found.env == {"HOME": account.pw_dir, "USER": account.pw_name, "LOGNAME": account.pw_name}
    other = next(entry for entry in pwd.getpwall() if entry.pw_uid != os.getuid())
    group = grp.getgrall()[-1]
    who = identity(other.pw_name, group.gr_name).change
    assert who is not None
    assert (who.uid, who.gid) == (other.pw_uid, group.gr_gid)
    assert set(who.groups) == set(os.getgrouplist(other.pw_name, group.gr_gid))
    assert identity(str(other.pw_uid), str(group.gr_gid)).change == who
    alone = identity("4000000000", "77")
    assert (alone.change, alone.env["HOME"]) == (RunAs(uid=4_000_000_000, gid=77, groups=(77,)), "/")


@pytest.mark.parametrize(
    ("user", "group", "says"),
    [
        ("no-such-user", None, "cannot start as user no-such-user: there is no such user"),
        (None, "no-such-group", "cannot start as group no-such-group: there is no such group"),
        ("4000000000", None, "cannot start as user 4000000000: nobody is known by this number, so name a group too"),
    ],
)
def test_an_unknown_name_is_refused(user: str | None, group: str | None, says: str) -> None:
    with pytest.raises(CannotStart, match=f"^{says}"):
        identity(user, group)


@ROOT_ONLY
@pytest.mark.usefixtures("tools")
def test_a_program_that_the_user_may_not_run_is_refused(tmp_path: Path) -> None:
    program = tmp_path / "program"
    program.write_text("#!/bin/sh\nid -u > ran\n")
    program.chmod(0o700)
    with pytest.raises(CannotStart, match="may not execute it"):
        run(Spec(argv=(str(program),), cwd=tmp_path, run_as=RunAs(uid=65534, gid=65534, groups=())))
    assert not (tmp_path / "ran").exists()


PROMISES = {
    "user": "run_as=RunAs(uid=1, gid=1, groups=())",
    "niceness": "nice=-5",
    "score": "oom_score_adj=-900",
    "limit": "limits=Limits(exact=True, open_files=1 << 20)",
}


@pytest.mark.parametrize("bare", [False, True], ids=["found", "bare"])
@pytest.mark.parametrize("what", PROMISES)
def test_without_the_privilege_nothing_starts(tmp_path: Path, what: str, bare: bool) -> None:
    code = (
        "import asyncio, resource\nfrom pathlib import Path\nfrom millrace.process import launch\n"
        "from millrace.process.capture import capture\n"
        "from millrace.process.values import CannotStart, Limits, RunAs, Spec\n"
        "from millrace.runtime.clock import SystemClock\n"
        f"{WITHOUT if bare else ''}\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))\n"
        "resource.setrlimit(resource.RLIMIT_NICE, (0, 0))\n"
        f"spec = Spec(argv=('sh', '-c', 'echo ran'), cwd=Path('/'), {PROMISES[what]})\n"
        "try:\n    print(asyncio.run(capture(spec, clock=SystemClock(), timeout_s=60)))\n"
        "except CannotStart as error:\n    print('REFUSED', error)\n"
    )
    # Root without a capability, and not another user, who might not be allowed to run this Python.
    drop = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--"]
    command = [*(drop if os.getuid() == 0 else []), sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path)
    assert done.stdout.startswith("REFUSED cannot start "), (done.stdout, done.stderr)
    assert any(words in done.stdout.lower() for words in ("not permitted", "denied", "not allowed")), done.stdout
    assert "/test" not in done.stdout


def test_the_tools_of_this_machine_are_found() -> None:
    assert find_tools() != BARE
