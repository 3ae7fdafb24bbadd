"""What a supervisor counts, samples and tells Prometheus, on virtual time."""

import asyncio
import platform
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from supervision import Supervision, a_plan, a_process

import millrace
from millrace.process.census import TreeUsage
from millrace.process.mark import Mark
from millrace.runtime.clock import VirtualClock
from millrace.supervisor.control.metrics import exposition
from millrace.supervisor.facts import Facts
from millrace.supervisor.happenings import Checked, HookRan, JobRan, Restarted, RunEnded, SignSent, Why, why_ended
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.hooks import Moment
from millrace.supervisor.ledger import KEPT, Histogram, Ledger
from millrace.supervisor.plan import Kind
from millrace.supervisor.resources import KEPT_S, LOOK_BOUNDS_S, PERIOD_S, WATCHED_S, Resources, Root, Sample
from millrace.supervisor.schedule.jobs import By, Outcome, Run
from millrace.supervisor.schedule.values import Schedule
from millrace.supervisor.state import Id, Instance, Phase, Wanted
from millrace.telemetry.metrics import SUPERVISOR_METRICS

NOW = datetime(2026, 1, 1, tzinfo=UTC)
WEB, JOB = Id("web", 0), Id("job", 0)


def ended(each: Id, *, code: int | None = 0, signal: int | None = None, why: Why = Why.WELL) -> RunEnded:
    return RunEnded(id=each, run=1, began=NOW, ended=NOW, code=code, signal=signal, how="", why=why)


def checked(fault: str | None, took_s: float = 0.02) -> Checked:
    return Checked(id=WEB, run=1, kind="tcp", at=NOW, took_s=took_s, fault=fault)


def hooked(each: Id | None, fault: str | None) -> HookRan:
    return HookRan(id=each, moment=Moment.PRE_STOP, hook="h", attempt=1, at=NOW, took_s=0.3, fault=fault)


def ran(outcome: Outcome, seconds: float) -> JobRan:
    end = NOW + timedelta(seconds=seconds)
    return JobRan("job", Run(number=1, by=By.HAND, due=NOW, began=NOW, ended=end, outcome=outcome))


def told(it: Supervision, ledger: Ledger, **more: Any) -> dict[str, dict[tuple[str, ...], float]]:
    """Each series with the values of its labels."""
    found: dict[str, dict[tuple[str, ...], float]] = {}
    given: dict[str, Any] = {"facts": {}, "samples": {}, "whole": {}} | more
    text = exposition(it.plan, it.state, given.pop("facts"), ledger=ledger, **given)
    for family in text_string_to_metric_families(text):
        for one in family.samples:
            name = one.name.removeprefix("millrace_supervisor_")
            found.setdefault(name, {})[tuple(one.labels.values())] = one.value
    return found


def test_what_happened_is_counted_and_what_has_gone_is_not_told() -> None:
    plan = a_plan(
        web=a_process("web"), job=a_process("job", kind=Kind.SCHEDULED, schedule=Schedule(expression="0 0 1 1 *"))
    )
    it, ledger = Supervision(plan), Ledger()
    for one in (
        ended(WEB, code=3, why=Why.CRASH), ended(WEB, code=3, why=Why.CRASH), ended(WEB, code=None, signal=15, why=Why.ASKED),
        ended(Id("old", 0)), checked(None), checked("refused"), checked(None, took_s=7.0), hooked(WEB, None), hooked(None, "no"),
        ran(Outcome.SUCCEEDED, 30), ran(Outcome.TIMED_OUT, 90),
    ):  # fmt: skip
        ledger.note(one)
    found = told(it, ledger)
    assert found["process_exits_total"] == {("web", "3", "crash"): 2, ("web", "SIGTERM", "asked"): 1}
    assert found["health_checks_total"] == {("web", "tcp", "failure"): 1, ("web", "tcp", "success"): 2}
    buckets = {key[-1]: value for key, value in found["health_check_seconds_bucket"].items()}
    assert (buckets["0.01"], buckets["0.05"], buckets["5"], buckets["+Inf"]) == (0, 2, 2, 3)
    assert found["health_check_seconds_sum"] == {("web", "tcp"): pytest.approx(7.04)}
    assert found["hook_runs_total"] == {("", "pre-stop", "failure"): 1, ("web", "pre-stop", "success"): 1}
    assert found["job_runs_total"] == {("job", "succeeded"): 1, ("job", "timed-out"): 1}
    assert found["job_seconds_count"] == {("job",): 2}
    assert found["job_last_success_time_seconds"] == {("job",): (NOW + timedelta(seconds=30)).timestamp()}
    assert found["job_paused"] == {("job",): 0}
    # `old` is in no plan any more; nothing of it is kept either.
    assert "old" not in {key[0] for key in ledger.exits}
    ledger.keep(["web"])
    assert (dict(ledger.jobs), [*ledger.job_s.rows()], ledger.last_success) == ({}, [], {})


def test_every_metric_of_the_table_is_served() -> None:
    text = exposition(a_plan(web=a_process("web")), Supervision(a_plan(web=a_process("web"))).state, {}, ledger=Ledger(), samples={},
        whole=dict.fromkeys(("ready", "start_time_seconds", "audit_lost_total"), 1.0))  # fmt: skip
    for metric in SUPERVISOR_METRICS:
        assert f"# TYPE {metric.name} {metric.kind}\n" in text
    assert "millrace_supervisor_audit_lost_total 1\n" in text


def signed(sign: str, fault: str | None, took_s: float) -> SignSent:
    return SignSent(process="job", sign=sign, at=NOW, took_s=took_s, fault=fault)


def test_restarts_have_their_reason_and_go_with_their_instance() -> None:
    it, ledger = Supervision(a_plan(web=a_process("web", scale=2), job=a_process("job"))), Ledger()
    other = Id("web", 1)
    for each, why in (
        (WEB, Why.CRASH),
        (WEB, Why.CRASH),
        (WEB, Why.UNHEALTHY),
        (other, Why.ASKED),
        (Id("old", 0), Why.WELL),
    ):
        ledger.note(Restarted(id=each, why=why))
    assert told(it, ledger)["process_restarts_total"] == {
        ("web", "web-0", "crash"): 2, ("web", "web-0", "unhealthy"): 1, ("web", "web-1", "asked"): 1,
        ("web", "web-1", "crash"): 0, ("job", "job-0", "crash"): 0,
    }  # fmt: skip
    it.post(Wanted("web", 1))
    assert ("web", "web-1", "asked") not in told(it, ledger)["process_restarts_total"]
    ledger.forget(WEB)
    assert [key[1] for key in ledger.restarts] == ["web-1"]


def test_heartbeats_are_counted_with_what_became_of_them() -> None:
    plan = a_plan(job=a_process("job", kind=Kind.SCHEDULED, schedule=Schedule(expression="0 0 1 1 *")))
    it, ledger = Supervision(plan), Ledger()
    for one in (signed("start", None, 0.3), signed("success", None, 0.2), signed("failure", "answered 500", 12)):
        ledger.note(one)
    found = told(it, ledger)
    assert found["heartbeats_total"] == {
        ("job", "start", "success"): 1, ("job", "success", "success"): 1, ("job", "failure", "failure"): 1,
    }  # fmt: skip
    assert found["heartbeat_seconds_sum"][("job", "failure")] == 12
    assert found["heartbeat_last_success_time_seconds"] == {("job",): NOW.timestamp()}
    ledger.keep(["web"])
    assert (dict(ledger.signs), [*ledger.sign_s.rows()], ledger.last_heard) == ({}, [], {})


def test_a_check_tells_its_last_answer_once_there_is_one() -> None:
    check = HealthCheck(kind=ProbeKind.TCP, target="127.0.0.1:1", failure_threshold=3)
    it = Supervision(a_plan(web=a_process("web", health_check=check)))
    assert "health_check_status" not in told(it, Ledger())
    it.answers("web", well=True)
    assert told(it, Ledger())["health_check_status"] == {("web", "web-0"): 1}
    it.answers("web", well=False)
    found = told(it, Ledger())
    assert (found["health_check_status"], found["health_check_misses"]) == (
        {("web", "web-0"): 0},
        {("web", "web-0"): 1},
    )


def test_looks_and_the_end_are_told() -> None:
    it, looks = Supervision(a_plan(web=a_process("web"))), Histogram(LOOK_BOUNDS_S)
    looks.add((), 0.0007)
    found = told(it, Ledger(), looks=looks, hidden={WEB: 4, Id("old", 0): 9})
    assert found["resource_look_seconds_count"] == {(): 1}
    assert (found["resource_look_seconds_bucket"][("0.0005",)], found["resource_look_seconds_bucket"][("0.001",)]) == (
        0,
        1,
    )
    assert found["resource_look_errors_total"] == {("web", "web-0"): 4}
    assert "shutdown_seconds" not in found
    assert told(it, Ledger(), ending_for_s=2.5)["shutdown_seconds"] == {(): 2.5}
    assert found["build_info"] == {(millrace.__version__, platform.python_version()): 1}


def test_records_are_bounded_and_found_by_process() -> None:
    ledger = Ledger()
    for _ in range(KEPT + 5):
        ledger.note(ended(WEB))
    ledger.note(ended(JOB))
    ledger.note(hooked(None, None))
    ledger.note(hooked(WEB, None))
    assert len(ledger.runs({"web", "job"}, limit=10**6)) == KEPT
    assert [one.id for one in ledger.runs({"job"}, limit=5)] == [JOB]
    assert [one.id for one in ledger.hook_runs({""}, limit=5)] == [None]


def test_why_a_process_ended() -> None:
    fine = frozenset({0, 4})
    assert why_ended(Instance(phase=Phase.STOPPING), 0, fine) is Why.ASKED
    assert why_ended(Instance(phase=Phase.STOPPING, unwell=True), None, fine) is Why.UNHEALTHY
    assert why_ended(Instance(phase=Phase.RUNNING), 4, fine) is Why.WELL
    assert why_ended(Instance(phase=Phase.RUNNING), 5, fine) is Why.CRASH
    assert why_ended(Instance(phase=Phase.RUNNING), None, fine) is Why.CRASH
    assert why_ended(None, 0, fine) is Why.WELL


class Looking:
    """Resources with a census that tells what it is given, and counts how often it is asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = VirtualClock()
        self.roots = {WEB: Root(7, Mark(word="w", number=None), 0.0)}
        self.usage = {7: TreeUsage(processes=1, cpu_s=1.0)}
        self.looks = 0

        async def at_once(function: Any, *arguments: Any) -> Any:
            return function(*arguments)

        monkeypatch.setattr(asyncio, "to_thread", at_once)
        self.resources = Resources(self.clock, lambda: self.roots)
        self.resources._census.look = self.look  # type: ignore[method-assign]

    def look(self, roots: Any) -> dict[int, TreeUsage]:
        self.looks += 1
        return {pid: usage for pid, usage in self.usage.items() if pid in roots}


def test_nobody_looks_while_nobody_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        it = Looking(monkeypatch)
        await it.resources.now()
        await it.resources.now()
        assert it.looks == 1  # no more often than the period
        await it.clock.advance(10 * WATCHED_S)
        assert it.looks == 1  # who asks once does not watch
        await it.resources.watched()
        await it.clock.advance(10 * WATCHED_S)
        assert it.looks == pytest.approx(1 + WATCHED_S / PERIOD_S, abs=2)
        await it.resources.close()

    asyncio.run(body())


def test_the_past_is_bounded_and_cpu_time_never_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def body() -> None:
        it = Looking(monkeypatch)

        async def next_sample(cpu_s: float) -> Sample:
            it.usage[7] = TreeUsage(processes=1, cpu_s=cpu_s)
            await it.clock.advance(PERIOD_S)
            return (await it.resources.now())[WEB]

        assert (await it.resources.now())[WEB].cpu_share is None
        assert (await next_sample(2.0)).cpu_share == pytest.approx(1.0 / PERIOD_S)
        fewer = await next_sample(0.5)  # an orphan took its time along
        assert (fewer.cpu_s, fewer.cpu_share) == (2.0, 0.0)
        it.roots = {WEB: Root(8, Mark(word="w", number=None), 5.0)}  # another run of it
        it.usage[8] = TreeUsage(processes=1, cpu_s=0.5)
        await it.clock.advance(PERIOD_S)
        assert (await it.resources.now())[WEB].cpu_s == 5.5
        for _ in range(round(KEPT_S / PERIOD_S) + 50):
            await next_sample(1.0)
        past = it.resources.past(WEB, since=None, limit=10**6)
        assert len(past) <= KEPT_S / PERIOD_S + 1
        assert it.resources.past(WEB, since=past[-3].at, limit=10) == past[-2:]
        assert it.resources.past(WEB, since=None, limit=2) == past[-2:]
        it.usage.clear()  # it has ended
        await it.clock.advance(PERIOD_S)
        assert await it.resources.now() == {}
        assert it.resources.hidden[WEB] > 0  # its descriptors could not be seen
        it.resources.forget(WEB)
        assert it.resources.past(WEB, since=None, limit=10) == []
        assert not it.resources.hidden
        assert sum(counts[-1] + sum(counts[:-1]) for _, counts, _ in it.resources.look_s.rows()) > KEPT_S / PERIOD_S
        await it.resources.close()

    asyncio.run(body())


def test_what_is_used_is_told_where_it_can_be_seen() -> None:
    it = Supervision(a_plan(web=a_process("web"), job=a_process("job")))
    usage = TreeUsage(
        processes=3, threads=5, cpu_s=1.0, rss_bytes=100, pss_bytes=None, read_bytes=7, written_bytes=8, descriptors=9
    )
    sample = Sample(at=NOW, at_s=0.0, cpu_s=4.0, cpu_share=None, usage=usage)
    facts = {WEB: Facts(pid=7, started=NOW, spent_s=3.0), JOB: Facts(spent_s=2.5)}
    found = told(it, Ledger(), facts=facts, samples={WEB: sample})
    assert found["process_cpu_seconds_total"] == {("web", "web-0"): 4.0, ("job", "job-0"): 2.5}
    assert found["process_resident_memory_bytes"] == {("web", "web-0"): 100}
    assert "process_proportional_memory_bytes" not in found  # this user may not see it
    assert found["process_written_bytes_total"] == {("web", "web-0"): 8}
    assert found["process_threads"] == {("web", "web-0"): 5}
