"""What a supervisor does, as spans, on virtual time."""

import io
import json
import sys
from datetime import UTC, datetime, timedelta

import pytest
from supervision import Supervision, a_job, a_plan, a_process, ident

from millrace.supervisor.happenings import Checked, HookRan, JobRan
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.hooks import Moment
from millrace.supervisor.plan import Policy, Restart
from millrace.supervisor.schedule.jobs import By, Outcome, Run
from millrace.supervisor.spans import Spans
from millrace.supervisor.state import Changed, Effect, Ending, Gone, Reloaded, Renewed, Wanted
from millrace.telemetry.tracing import Attributes, Span, exporter_of, tracer_from

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CHECK = HealthCheck(kind=ProbeKind.TCP, target="localhost:1")


class Drawn(Span):
    """A span as a line of text: its names from the outermost inwards, and how it ended."""

    def __init__(self, book: "Book", name: str, parent: Span | None, attributes: Attributes) -> None:
        self._book = book
        whose = attributes.get("millrace.instance", attributes.get("millrace.process", ""))
        own = f"{name} {whose}".strip()
        self.path = f"{parent.path} > {own}" if isinstance(parent, Drawn) else own

    def end(self, at: datetime, *, fault: str | None = None, attributes: Attributes | None = None) -> None:
        self._book.open.remove(self)
        self._book.lines.append(self.path + ("" if fault is None else f" ! {fault}"))


class Book:
    """Collects spans in the order in which they end."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.open: list[Drawn] = []
        self.closed = False

    def start(
        self, name: str, *, at: datetime, parent: Span | None = None, attributes: Attributes | None = None
    ) -> Span:
        self.open.append(span := Drawn(self, name, parent, attributes or {}))
        return span

    def close(self) -> None:
        self.closed = True


class Traced(Supervision):
    """A supervision whose changes are told."""

    def __init__(self, plan: object, **more: object) -> None:
        self.book = Book()
        self.spans = Spans(self.book, now=lambda: NOW, state=lambda: getattr(self, "state"))  # noqa: B009  it is there later
        super().__init__(plan, **more)  # type: ignore[arg-type]  # as it has them

    def _do(self, effects: tuple[Effect, ...]) -> None:
        for effect in effects:
            if isinstance(effect, Changed):
                self.spans.changed(effect.id, effect.instance)
            elif isinstance(effect, Gone):
                self.spans.changed(effect.id, None)
            elif isinstance(effect, Reloaded):
                self.spans.told(effect)
        super()._do(effects)

    def drawn(self) -> list[str]:
        lines, self.book.lines = self.book.lines, []
        return lines


def checked(name: str, fault: str | None) -> Checked:
    return Checked(id=ident(name), run=1, kind="tcp", at=NOW, took_s=0.1, fault=fault)


def test_a_start_of_everything_is_one_trace() -> None:
    it = Traced(a_plan(db=a_process("db", health_check=CHECK), web=a_process("web", "db")))
    it.spans.happened(checked("db-0", "refused"))
    it.answers("db-0", well=False)
    it.spans.happened(checked("db-0", None))
    it.answers("db-0", well=True)
    assert it.drawn() == [
        "supervisor.start > process.start db-0 > health_check db-0 ! refused",
        "supervisor.start > process.start db-0 > health_check db-0",
        "supervisor.start > process.start db-0",
        "supervisor.start > process.start web-0",
        "supervisor.start",
    ]
    it.spans.happened(checked("db-0", None))  # it goes on for ever, and is not told
    assert it.drawn() == []
    it.spans.happened(checked("db-0", "refused"))
    assert it.drawn() == ["health_check db-0 ! refused"]
    assert it.book.open == []


def test_a_crash_is_a_restart_until_it_is_ready_again() -> None:
    it = Traced(a_plan(web=a_process("web", restart=Restart(max_attempts=2))))
    it.drawn()
    it.ends("web-0", code=3)
    it.passes(100)
    assert it.drawn()[-2:] == ["process.restart web-0 > process.start web-0", "process.restart web-0"]
    it.ends("web-0", code=3)
    it.post(Wanted("web", 0))
    assert it.drawn() == ["process.restart web-0 ! it was stopped instead"]
    assert it.book.open == []


def test_a_process_that_is_given_up_ends_its_restart_with_the_reason() -> None:
    it = Traced(a_plan(web=a_process("web", health_check=CHECK, restart=Restart(max_attempts=1))))
    for _ in range(2):
        it.ends("web-0", code=3)
        it.passes(5)
    assert it.phase("web-0").value == "failed"
    why = it.state.instances[ident("web-0")].reason
    assert it.drawn()[-2:] == [f"process.restart web-0 > process.start web-0 ! {why}", f"process.restart web-0 ! {why}"]
    assert it.book.open == []


def test_a_restart_holds_its_stop_and_its_start() -> None:
    it = Traced(a_plan(web=a_process("web")), stops=False)
    it.drawn()
    it.post(Renewed("web"))
    it.spans.happened(
        HookRan(id=ident("web-0"), moment=Moment.PRE_STOP, hook="h", attempt=1, at=NOW, took_s=1.0, fault="no")
    )
    it.ends("web-0", code=None)
    assert it.drawn() == [
        "process.restart web-0 > process.stop web-0 > hook web-0 ! no",
        "process.restart web-0 > process.stop web-0",
        "process.restart web-0 > process.start web-0",
        "process.restart web-0",
    ]
    assert it.book.open == []


def test_a_change_of_the_plan_is_a_span_that_says_what_became_of_it() -> None:
    it = Traced(a_plan(web=a_process("web")))
    it.drawn()
    it.reloads(a_plan(web=a_process("web"), other=a_process("other", health_check=CHECK)))
    it.answers("other-0", well=True)
    it.passes(1)
    assert it.drawn() == ["process.start other-0", "supervisor.reload"]
    it.reloads(
        a_plan(
            web=a_process("web"),
            other=a_process("other", health_check=CHECK),
            bad=a_process("bad", restart=Restart(policy=Policy.NEVER)),
        )
    )
    it.ends("bad-0", code=1)
    lines = it.drawn()
    assert [line for line in lines if line.startswith("supervisor.reload ! rolled-back: bad-0")]
    assert it.book.open == []


def test_an_end_of_everything_is_one_trace() -> None:
    it = Traced(
        a_plan(db=a_process("db"), web=a_process("web", "db"), slow=a_process("slow", health_check=CHECK)), stops=False
    )
    assert it.drawn()[-1] == "supervisor.start"
    it.post(Ending())
    it.ends("web-0")
    it.ends("db-0")
    it.ends("slow-0")
    it.spans.happened(HookRan(id=None, moment=Moment.POST_STOP, hook="bye", attempt=1, at=NOW, took_s=1.0, fault=None))
    it.spans.close()
    assert it.drawn() == [
        "supervisor.start > process.start slow-0 ! it was stopped before it was ready",
        "supervisor.shutdown > process.stop web-0",
        "supervisor.shutdown > process.stop db-0",
        "supervisor.shutdown > process.stop slow-0",
        "supervisor.shutdown > hook",
        "supervisor.shutdown",
    ]
    assert (it.book.open, it.book.closed) == ([], True)


def test_what_is_scaled_away_leaves_nothing_open() -> None:
    it = Traced(a_plan(web=a_process("web", scale=3, health_check=CHECK)), stops=False)
    it.answers("web-0", well=True)
    it.post(Wanted("web", 1))
    it.ends("web-1")
    it.ends("web-2")
    it.drawn()
    assert it.book.open == []


def test_a_run_at_its_time_is_a_span_and_no_restart() -> None:
    it = Traced(a_plan(job=a_job("job", "* * * * *", timeout_s=5.0)))
    it.passes(60)
    it.passes(10)  # it is stopped, as it takes too long
    run = Run(
        number=1,
        by=By.HAND,
        due=NOW,
        began=NOW,
        ended=NOW + timedelta(seconds=5),
        outcome=Outcome.TIMED_OUT,
        how="late",
    )
    it.spans.happened(JobRan("job", run))
    lines = it.drawn()
    assert lines[-1] == "job job ! timed-out: late"
    assert not [line for line in lines if "restart" in line]
    assert it.book.open == []


@pytest.mark.parametrize(
    ("environ", "found"),
    [
        ({}, None), ({"OTEL_SERVICE_NAME": "x"}, None), ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h"}, "otlp"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://h"}, "otlp"), ({"OTEL_TRACES_EXPORTER": "console"}, "console"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://h", "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "TRUE"}, None), ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
    ],
)  # fmt: skip
def test_traces_are_off_unless_the_standard_variables_ask_for_them(environ: dict[str, str], found: str | None) -> None:
    assert exporter_of(environ) == found
    if found is None:
        assert tracer_from(environ, service="s", version="1") is None


def test_what_cannot_be_traced_is_a_warning(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("WARNING"):
        assert tracer_from({"OTEL_TRACES_EXPORTER": "zipkin"}, service="s", version="1") is None
        monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace.export", None)
        assert tracer_from({"OTEL_TRACES_EXPORTER": "console"}, service="s", version="1") is None
    assert "only otlp, console and none" in str(caplog.records[0].__dict__["fields"])
    assert "install millrace[otel]" in str(caplog.records[1].__dict__["fields"])


def test_spans_come_out_of_the_sdk_as_they_went_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    from opentelemetry.trace import use_span

    tracer = tracer_from({"OTEL_TRACES_EXPORTER": "console"}, service="of-the-test", version="1")
    assert tracer is not None
    outer = tracer.start("outer", at=NOW, attributes={"a": 1})
    inner = tracer.start("inner", at=NOW + timedelta(seconds=1), parent=outer)
    inner.end(NOW + timedelta(seconds=3), fault="no", attributes={"b": "x"})
    outer.end(NOW + timedelta(seconds=4))
    with use_span(outer.inner):  # type: ignore[attr-defined]  # the SDK's own
        tracer.start("other", at=NOW).end(NOW)
    tracer.close()
    decoder, text, found = json.JSONDecoder(), sys.stderr.getvalue(), {}
    while text.strip():
        one, end = decoder.raw_decode(text.strip())
        found[one["name"]], text = one, text.strip()[end:]
    assert found["inner"]["parent_id"] == found["outer"]["context"]["span_id"]
    assert found["inner"]["status"] == {"status_code": "ERROR", "description": "no"}
    assert (found["inner"]["start_time"], found["inner"]["end_time"]) == (
        "2026-01-01T00:00:01.000000Z",
        "2026-01-01T00:00:03.000000Z",
    )
    assert (found["outer"]["parent_id"], found["outer"]["attributes"]) == (None, {"a": 1})
    assert found["other"]["context"]["trace_id"] != found["outer"]["context"]["trace_id"]
    assert found["outer"]["resource"]["attributes"]["service.name"] == "of-the-test"
