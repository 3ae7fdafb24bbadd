"""The pure parts of the supervisor's control: what is at rest, what is kept, what is shown, where the socket stands."""

import asyncio
import fcntl
import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import pytest
from prometheus_client.parser import text_string_to_metric_families
from supervision import Supervision, a_plan, a_process

from millrace.cli.ctl.table import status_lines
from millrace.config.errors import SettingError
from millrace.programs.http.unix_socket import UnixSocket
from millrace.runtime.clock import VirtualClock
from millrace.supervisor.control.changes import KEPT, Changes
from millrace.supervisor.control.lines import MAX_LINES, Lines
from millrace.supervisor.control.metrics import exposition
from millrace.supervisor.control.news import News
from millrace.supervisor.control.place import places
from millrace.supervisor.control.plan_view import plan_view
from millrace.supervisor.control.rest import foremost, is_ready, is_settled
from millrace.supervisor.control.views import instance_view
from millrace.supervisor.facts import Facts, LastEnd
from millrace.supervisor.happenings import Why
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.ledger import Ledger
from millrace.supervisor.logs.entry import Entry, Level
from millrace.supervisor.logs.ring import MAX_CHARS
from millrace.supervisor.plan import Kind, ProcessPlan
from millrace.supervisor.state import Id, Instance, Phase, Wanted
from millrace.wire.v1.supervise import ChangeView, InstanceState, InstanceView, ProcessView

NOW = datetime(2026, 1, 1, tzinfo=UTC)
EACH = Id("web", 0)
CHECK = HealthCheck(kind=ProbeKind.TCP, target="localhost:1")


def test_every_phase_can_be_told() -> None:
    assert {*get_args(InstanceState)} == {*Phase}


def test_a_process_is_at_rest_when_what_was_asked_is_done_or_cannot_be() -> None:
    it = Supervision(a_plan(db=a_process("db", health_check=CHECK), web=a_process("web", "db")), stops=False)
    assert not is_settled(it.state, "db")  # it runs, and is not ready
    assert not is_settled(it.state, "web")  # it waits
    it.answers("db-0", well=True)
    assert is_settled(it.state, "db")
    assert is_settled(it.state, "web")
    assert is_ready(it.state)
    it.post(Wanted("web", 0))
    assert not is_settled(it.state, "web")  # it is being stopped
    it.ends("web-0")
    assert is_settled(it.state, "web")
    it.ends("db-0", code=1)
    it.ends("db-0", code=1)
    assert it.phase("db-0") is Phase.BACKING_OFF
    assert not is_settled(it.state, "db")
    assert not is_ready(it.state)


def test_a_process_is_not_at_rest_while_something_is_scaled_away() -> None:
    it = Supervision(a_plan(web=a_process("web", scale=2)), stops=False)
    it.post(Wanted("web", 1))
    assert not is_settled(it.state, "web")
    it.ends("web-1")
    assert is_settled(it.state, "web")


def test_who_is_to_stop_and_still_waits_for_others_is_not_at_rest() -> None:
    it = Supervision(a_plan(db=a_process("db"), web=a_process("web", "db")), stops=False)
    it.end()
    it.post(Wanted("db", 0))
    assert it.phase("db-0") is Phase.RUNNING  # until web has gone
    assert not is_settled(it.state, "db")


def test_what_is_over_counts_as_ready_only_if_it_ended_well() -> None:
    for code, ready in ((0, True), (1, False)):
        it = Supervision(a_plan(job=a_process("job", kind=Kind.ONESHOT), web=a_process("web")))
        it.ends("job-0", code=code)
        assert is_ready(it.state) is ready
        assert is_settled(it.state, "job")


def test_the_state_of_a_process_is_that_which_needs_attention() -> None:
    assert foremost([Phase.RUNNING, Phase.FAILED, Phase.STOPPED]) is Phase.FAILED
    assert foremost([Phase.STOPPED, Phase.RUNNING]) is Phase.RUNNING
    assert foremost([]) is Phase.STOPPED


def test_a_view_tells_a_pid_only_while_a_process_runs() -> None:
    facts = Facts(
        pid=7, started=NOW, last_end=LastEnd(at=NOW, why=Why.CRASH, how="was killed by SIGKILL (9)", signal=9)
    )
    view = instance_view(Id("web", 0), Instance(phase=Phase.RUNNING, began_s=2.0), facts, now_s=5.5)
    assert (view.id, view.pid, view.started, view.uptime_s) == ("web-0", 7, NOW, 3.5)
    assert view.last_end is not None
    assert view.last_end.signal == "SIGKILL"
    view = instance_view(Id("web", 0), Instance(phase=Phase.FAILED), facts, now_s=5.5)
    assert (view.pid, view.started, view.uptime_s) == (None, None, None)
    odd = Facts(last_end=LastEnd(at=NOW, why=Why.CRASH, how="was killed by signal (40)", signal=40))
    view = instance_view(Id("web", 0), Instance(), odd, now_s=5.5)
    assert view.last_end is not None
    assert view.last_end.signal == "40"


def said(each: Id, *texts: str) -> list[Entry]:
    return [
        Entry(
            number=1, time=NOW, level=Level.INFO, process=each.process, instance=str(each), stream="stdout", message=text
        )
        for text in texts
    ]  # fmt: skip


def test_the_last_lines_are_kept_and_no_more() -> None:
    lines = Lines()
    assert lines.last("web", limit=10) == ([], 0, 0)
    lines.add(EACH, said(EACH, *map(str, range(MAX_LINES + 5))))
    found, last, lost = lines.last("web", limit=2)
    assert ([line.text for line in found], last, lost) == ([str(MAX_LINES + 3), str(MAX_LINES + 4)], MAX_LINES + 5, 0)
    found, last, lost = lines.last("web", limit=3, after=2)
    assert ([line.number for line in found], last, lost) == ([6, 7, 8], 8, 3)
    assert lines.last("web", limit=3, after=MAX_LINES + 5) == ([], MAX_LINES + 5, 0)
    # What a reader of an earlier supervisor asks for is answered with what there is.
    assert lines.last("web", limit=3, after=10**9)[1] == MAX_LINES + 5


def test_long_lines_do_not_fill_the_memory() -> None:
    lines = Lines()
    for _ in range(40):
        lines.add(EACH, said(EACH, "x" * (MAX_CHARS // 10)))
    assert len(lines.last("web", limit=1000)[0]) <= 10


def change(number: int) -> ChangeView:
    return ChangeView(at=NOW, process="web", instance=f"web-{number}", now=None)


def test_changes_are_taken_up_where_they_broke() -> None:
    changes = Changes("run1")
    for number in range(3):
        changes.add(change(number))
    found, gap = changes.after(1)
    assert [event.splitlines()[0] for event in found] == [b"id: run1-2", b"id: run1-3"]
    assert not gap
    assert changes.after(3) == ([], False)
    assert changes.number("run1-2") == 2
    assert changes.number("run1-4") is None  # never given
    assert changes.number("run2-2") is None
    for wrong in ("", "nonsense", "run1-", "run1-x", "-3", "run1--3", "run1-²"):
        with pytest.raises(ValueError):
            changes.number(wrong)


def test_a_gap_in_the_changes_is_told() -> None:
    changes = Changes("run1")
    for number in range(KEPT + 2):
        changes.add(change(number))
    assert changes.after(1)[1]
    assert not changes.after(2)[1]
    assert len(changes.after(0)[0]) == KEPT


def test_news_reach_everybody_and_an_end_too() -> None:
    async def whole() -> None:
        clock = VirtualClock()
        news = News(clock)
        seen: list[int] = []
        first = asyncio.create_task(news.until(lambda: len(seen) == 1, 60))
        late = asyncio.create_task(news.until(lambda: len(seen) == 9, 60))
        over = asyncio.create_task(news.until(lambda: len(seen) == 9, 120))
        await clock.settle()
        seen.append(1)
        news.ring()
        assert await first
        await clock.advance(61)
        assert late.done()
        assert not await late
        assert not over.done()
        news.end()
        assert not await over

    asyncio.run(whole())


def test_the_metrics_hold_what_is_there_and_nothing_of_what_has_gone() -> None:
    it = Supervision(a_plan(web=a_process("web", scale=2), job=a_process("job", kind=Kind.ONESHOT)))
    it.ends("job-0", code=3)
    facts = {
        Id("web", 0): Facts(pid=7, started=NOW, last_end=LastEnd(at=NOW, why=Why.CRASH, how="was killed", signal=9)),
        Id("job", 0): Facts(last_end=LastEnd(at=NOW, why=Why.CRASH, how="exited with code 3", code=3)),
    }

    def values() -> dict[tuple[str, str], float]:
        found = {}
        text = exposition(it.plan, it.state, facts, ledger=Ledger(), samples={}, whole={})
        for family in text_string_to_metric_families(text):
            for one in family.samples:
                name = one.name.removeprefix("millrace_supervisor_")
                found[name, one.labels.get("instance", one.labels.get("process", ""))] = one.value
        return found

    before = values()
    assert before["process_up", "web-0"] == before["process_ready", "web-1"] == 1
    assert before["process_up", "job-0"] == before["process_ready", "job-0"] == 0
    assert (before["process_last_exit_code", "web-0"], before["process_last_exit_code", "job-0"]) == (137, 3)
    assert before["process_start_time_seconds", "web-0"] == NOW.timestamp()
    assert (before["desired_scale", "web"], before["current_scale", "web"]) == (2, 1)  # of web-1 no pid is known yet
    it.post(Wanted("web", 1))
    assert not [key for key in values() if key[1] == "web-1"]
    assert values()["desired_scale", "web"] == 1


def an_instance(name: str, state: InstanceState, **fields: object) -> InstanceView:
    usual: dict[str, object] = {
        "ready": False, "pid": None, "started": None, "uptime_s": None, "restarts": 0, "failures": 0, "reason": "",
        "last_end": None,
    }  # fmt: skip
    return InstanceView(id=name, state=state, **usual | fields)  # type: ignore[arg-type]  # any field


def a_view(name: str, *instances: InstanceView) -> ProcessView:
    return ProcessView(
        name=name, type="service", state=instances[0].state if instances else "stopped", desired=len(instances),
        ready=0, max_scale=1000, depends_on={}, instances=list(instances),
    )  # fmt: skip


WEB = a_view("web", an_instance("web-0", "running", ready=True, pid=41234, uptime_s=7384.0, restarts=2))


def test_the_status_is_what_it_says_of_itself_unless_there_is_a_reason() -> None:
    said = a_view("web", an_instance("web-0", "running", status="3 clients"))
    unwell = a_view("web", an_instance("web-0", "running", status="3 clients", reason="refused"))
    assert list(status_lines([said], width=None))[1].endswith("3 clients")
    assert list(status_lines([unwell], width=None))[1].endswith("refused")


JOB = a_view("job", an_instance("job-0", "failed", reason="exited with code 3"))
SPARE = a_view("spare")


def test_the_table_is_aligned_and_fits() -> None:
    assert list(map(_plain, status_lines([WEB, JOB, SPARE], width=80))) == [
        "NAME   STATE    READY    PID      UPTIME  RESTARTS  REASON",
        "web-0  running  yes    41234  2 h 03 min         2",
        "job-0  failed   no         -           -         0  exited with code 3",
        "spare  stopped  -          -           -         0",
    ]


def test_a_reason_that_does_not_fit_follows_below() -> None:
    reason = "exited with code 3; given up after 2 restarts within 10 s of each other, because it was so"
    long = a_view("job", an_instance("job-0", "failed", reason=reason))
    lines = [_plain(line) for line in status_lines([WEB, long], width=80)]
    assert max(map(len, lines)) <= 80
    assert " ".join(line.strip() for line in lines[3:]) == reason
    assert [_plain(line) for line in status_lines([long], width=None)][1].endswith(reason)


def _plain(text: str) -> str:
    import click

    return click.unstyle(text)


def test_the_usual_places() -> None:
    own, system = Path("/run/user/7/millrace/supervise.sock"), Path("/run/millrace/supervise.sock")
    assert list(places({"XDG_RUNTIME_DIR": "/run/user/7"}, uid=7)) == [own]
    assert list(places({"XDG_RUNTIME_DIR": "/run/user/7"}, uid=0)) == [own, system]
    assert list(places({}, uid=0)) == [system]
    assert list(places({"XDG_RUNTIME_DIR": "relative"}, uid=7)) == []


def test_a_live_socket_is_left_alone_and_a_stale_one_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    first = UnixSocket(path)
    assert path.stat().st_mode & 0o777 == 0o600
    with pytest.raises(SettingError, match="another supervisor that runs holds it"):
        UnixSocket(path)
    first.socket.close()  # as a crash leaves it: the file is there, nobody listens
    os.close(first._lock)
    second = UnixSocket(path)
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    second.close()
    assert not path.exists()


def test_whoever_is_about_to_replace_a_stale_socket_is_not_disturbed(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))
    with (tmp_path / "s.sock.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(SettingError, match="another supervisor that runs holds it"):
            UnixSocket(path)
    assert path.is_socket()


def test_a_socket_of_somebody_who_does_not_lock_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(SettingError, match="another supervisor that runs holds it"):
            UnixSocket(path)
    path.unlink()
    path.write_text("precious")
    with pytest.raises(SettingError, match="no socket is there"):
        UnixSocket(path)
    assert path.read_text() == "precious"


def test_a_place_that_cannot_be_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="No such file or directory; name another place"):
        UnixSocket(tmp_path / "nowhere" / "s.sock")
    with pytest.raises(SettingError, match="too long"):
        UnixSocket(tmp_path / ("x" * 120))


def test_the_plan_is_shown_without_what_is_known_to_be_secret() -> None:
    plan = a_plan(web=ProcessPlan(name="web", command=("psql", "-p", "s3cr3t-word", "--password=abc"), env={"X": "1"}))
    shown = plan_view(plan, ["s3cr3t-word"])
    assert shown == {
        "processes": {"web": {"name": "web", "command": ["psql", "-p", "***", "--password=***"], "env": {"X": "***"}}}
    }
