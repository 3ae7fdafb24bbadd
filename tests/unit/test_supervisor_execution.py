"""As whom, with what limits, and with which signals: what a plan may say, and what is refused."""

from signal import Signals

import pytest

from millrace.process.cgroup import Resources
from millrace.process.values import Limits
from millrace.supervisor.execution import Execution, spec_of
from millrace.supervisor.plan_document import PlanError, plan_from


def read(line: str) -> Execution:
    return plan_from(f"processes: {{web: {{command: [web], {line}}}}}", {}).processes["web"].execution


def test_a_process_is_left_as_it_is_unless_the_plan_says_more() -> None:
    assert read("scale: 1") == Execution()


def test_everything_that_may_be_said() -> None:
    found = read(
        "user: www-data, group: 33, umask: 027, nice: -5, oom_score_adj: 500,"
        "limits: {nofile: 65536, nproc: unlimited, as: 2G, core: 0, cpu: 60, memlock: 64k},"
        "forward_signals: {HUP: SIGUSR2, SIGUSR1: TERM}"
    )
    assert (found.user, found.group, found.umask, found.nice, found.oom_score_adj) == ("www-data", "33", 0o027, -5, 500)
    assert found.limits == Limits(
        exact=True, open_files=65536, processes=-1, address_space_bytes=2 << 30, core_bytes=0, cpu_s=60,
        locked_memory_bytes=64 << 10,
    )  # fmt: skip
    assert found.forward == {Signals.SIGHUP: Signals.SIGUSR2, Signals.SIGUSR1: Signals.SIGTERM}
    assert read("forward_signals: [WINCH]").forward == {Signals.SIGWINCH: Signals.SIGWINCH}


def test_limits_of_the_whole_tree() -> None:
    found = read("limits: {memory: 512M, cpus: 1.5, pids: 200, nofile: 1024}")
    assert found.resources == Resources(memory_bytes=512 << 20, cpus=1.5, pids=200)
    assert found.limits == Limits(exact=True, open_files=1024)
    assert read("limits: {memory: unlimited}").resources == Resources()
    assert not read("limits: {pids: 9}").limits.exact  # nothing has to be rehearsed for it


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("user: 'no body'", "web.user is 'no body'; give the name or the number of a user"),
        ("user: 4294967295", "web.user is '4294967295'; give the name"),
        ("group: -1", "web.group is '-1'; give the name or the number of a group"),
        ("umask: 088", "web.umask is '088'; give three octal digits"),
        ("umask: 07777", "web.umask is '07777'; give three octal digits"),
        ("nice: 20", "web.nice is 20; allowed: -20 to 19"),
        ("oom_score_adj: -1001", "web.oom_score_adj is -1001; allowed: -1000 to 1000"),
        (
            "limits: {nofile: 15}",
            "web.limits.nofile is 15; allowed: 16 to 1073741824, also as 512M or 2G, or unlimited",
        ),
        ("limits: {as: lots}", "web.limits.as is 'lots'; allowed"),
        ("limits: {core: true}", "web.limits.core is True; allowed"),
        ("limits: {memory: 1k}", "web.limits.memory is '1k'; allowed: 1048576 to"),
        ("limits: {cpus: 0}", "web.limits.cpus is 0; allowed: 0.01 to"),
        ("limits: {pids: 0}", "web.limits.pids is 0; allowed: 1 to"),
        ("limits: {files: 5}", "web.limits.files is unknown; did you mean nofile? allowed: as, core, cpu"),
        ("limits: 5", "web.limits must be a mapping"),
        ("forward_signals: [TERM]", "web.forward_signals names 'TERM'; allowed: HUP, USR1"),
        ("forward_signals: {HUP: SEGV}", "web.forward_signals turns HUP into 'SEGV'; allowed: HUP"),
        ("forward_signals: HUP", "web.forward_signals must be a list of signals"),
        ("forward_signals: {HUP: 1}", "web.forward_signals must be a list of signals"),
    ],
)
def test_what_cannot_work_is_refused(line: str, says: str) -> None:
    with pytest.raises(PlanError) as caught:
        read(line)
    (finding,) = caught.value.findings
    assert f"processes.{says}" in str(finding)


def test_only_what_is_limited_as_a_whole_gets_a_control_group_since_that_costs_every_start(tmp_path):
    def resources(**limits):
        return spec_of(
            Execution(resources=Resources(**limits)), command=("p",), cwd=tmp_path, environ={}, own={}
        ).resources

    assert resources() is None
    assert resources(pids=9) == Resources(pids=9)
