"""What makes a process ready, and what restarts it: notices, lines, silence; in virtual time."""

import re

import pytest
from supervision import Supervision, a_plan, a_process

from millrace.supervisor.health.http_probe import Answer, judge
from millrace.supervisor.health.notices import MAX_STATUS_CHARS, Notice, notice_from
from millrace.supervisor.health.values import HealthCheck, HttpCheck, ProbeKind, ProbeMode
from millrace.supervisor.plan import Policy, ProcessPlan, Restart
from millrace.supervisor.plan_document import PlanError, plan_from
from millrace.supervisor.state import Phase


def notifies(name: str = "db", *, mode: ProbeMode = ProbeMode.BOTH, watchdog_s: float = 0.0) -> ProcessPlan:
    check = HealthCheck(kind=ProbeKind.NOTIFY, mode=mode, start_timeout_s=90, watchdog_s=watchdog_s)
    return a_process(name, health_check=check)


@pytest.mark.parametrize(
    ("said", "notice"),
    [
        (b"READY=1", Notice(ready=True)),
        (b"READY=0\nnothing\n=1\n", Notice()),
        (b"READY=1\nSTATUS=up\nMAINPID=7\nFDSTORE=1\n", Notice(ready=True, status="up")),
        (b"STATUS=a\x1b[31m\tb\xff", Notice(status="a [31m b\N{REPLACEMENT CHARACTER}")),
        (b"STATUS=", Notice(status="")),
        (b"STATUS=" + b"x" * 9000, Notice(status="x" * MAX_STATUS_CHARS)),
        (b"WATCHDOG=1\nWATCHDOG_USEC=2500000", Notice(alive=True, watchdog_s=2.5)),
        (b"WATCHDOG=trigger", Notice(failed=True)),
        (b"RELOADING=1\nMONOTONIC_USEC=1", Notice(reloading=True)),
        (b"STOPPING=1\nEXTEND_TIMEOUT_USEC=1000000", Notice(stopping=True, extend_s=1.0)),
        (b"EXTEND_TIMEOUT_USEC=-1\nWATCHDOG_USEC=1e3", Notice()),
        ("EXTEND_TIMEOUT_USEC=\N{ARABIC-INDIC DIGIT ONE}".encode(), Notice()),
        (b"EXTEND_TIMEOUT_USEC=" + b"9" * 19, Notice(extend_s=86_400.0)),
        (b"EXTEND_TIMEOUT_USEC=" + b"9" * 5000, Notice()),
        (b"\x00\xff" * 50, Notice()),
    ],
)
def test_a_datagram_says(said: bytes, notice: Notice) -> None:
    assert notice_from(said) == notice


def test_only_its_own_word_makes_it_ready() -> None:
    it = Supervision(a_plan(web=a_process("web", "db"), db=notifies()))
    it.says("db", "STATUS=loading")
    assert (it.ready("db"), it.log) == (False, ["+db-0"])
    assert next(iter(it.state.instances.values())).status == "loading"
    it.says("db", "READY=1", "STATUS=")
    assert it.log == ["+db-0", "+web-0"]
    it.passes(1000)
    assert it.log == ["+db-0", "+web-0"]  # no watchdog was asked for


def test_what_does_not_say_in_time_that_it_is_ready_is_restarted() -> None:
    it = Supervision(a_plan(db=notifies()))
    it.passes(80)
    it.says("db", "EXTEND_TIMEOUT_USEC=30000000")
    it.says("db", "EXTEND_TIMEOUT_USEC=1000000")  # never shortens
    it.passes(29)
    assert it.log == ["+db-0"]
    it.passes(1)
    assert it.log[:2] == ["+db-0", "-db-0"]
    it.passes(5)
    assert (it.log, it.ready("db")) == (["+db-0", "-db-0", "+db-0"], False)


def test_a_missed_sign_of_life_restarts_and_says_why() -> None:
    it = Supervision(a_plan(db=notifies(watchdog_s=5)), stops=False)
    it.says("db", "READY=1")
    for _ in range(5):
        it.passes(4)
        it.says("db", "WATCHDOG=1")
    it.passes(4.9)
    assert it.phase("db") is Phase.RUNNING
    it.passes(0.2)
    assert it.log == ["+db-0", "-db-0"]
    assert it.reason("db") == "unhealthy: said no WATCHDOG=1 within 5 s"


def test_it_may_change_the_watchdog_and_report_a_failure() -> None:
    it = Supervision(a_plan(db=notifies(watchdog_s=5)), stops=False)
    it.says("db", "READY=1", "WATCHDOG_USEC=60000000")
    it.passes(59)
    assert it.log == ["+db-0"]
    it.says("db", "WATCHDOG_USEC=0")
    it.passes(500)
    assert it.log == ["+db-0"]
    it.says("db", "WATCHDOG=trigger")
    assert it.reason("db") == "unhealthy: it reported a failure (WATCHDOG=trigger)"


def test_one_that_reloads_stays_ready_and_has_to_come_back() -> None:
    it = Supervision(a_plan(db=notifies(watchdog_s=5)), stops=False)
    it.says("db", "READY=1")
    it.says("db", "RELOADING=1")
    assert (it.ready("db"), it.reason("db")) == (True, "it says that it reloads")
    it.passes(89)
    it.says("db", "READY=1")
    assert (it.ready("db"), it.reason("db")) == (True, "")
    it.says("db", "RELOADING=1")
    it.passes(91)
    assert it.reason("db") == "unhealthy: said no READY=1 within 90 s after RELOADING=1"


def test_one_that_says_that_it_stops_is_not_ready_and_has_its_time_for_it() -> None:
    it = Supervision(a_plan(db=notifies()), stops=False)
    it.says("db", "READY=1")
    it.says("db", "STOPPING=1")
    it.says("db", "READY=1")  # there is no way back
    assert (it.ready("db"), it.phase("db")) == (False, Phase.RUNNING)
    it.passes(9.9)
    assert it.log == ["+db-0"]
    it.passes(0.2)
    assert it.reason("db") == "unhealthy: said STOPPING=1, and did not end in time"


def test_readiness_alone_restarts_nothing() -> None:
    it = Supervision(a_plan(db=notifies(mode=ProbeMode.READINESS, watchdog_s=5)))
    it.passes(100)
    assert it.reason("db") == "said no READY=1 within 90 s"
    it.says("db", "READY=1")
    it.passes(6)
    assert (it.log, it.ready("db")) == (["+db-0"], False)
    it.says("db", "WATCHDOG=1")
    assert it.ready("db")


def test_liveness_alone_gates_nothing() -> None:
    it = Supervision(a_plan(web=a_process("web", "db"), db=notifies(mode=ProbeMode.LIVENESS, watchdog_s=5)))
    assert it.log == ["+db-0", "+web-0"]
    it.says("db", "READY=1")
    it.passes(6)
    assert it.log[:3] == ["+db-0", "+web-0", "-db-0"]


def test_what_it_said_is_forgotten_when_it_starts_anew() -> None:
    it = Supervision(a_plan(db=notifies(watchdog_s=5)))
    it.says("db", "READY=1", "STATUS=fine", "WATCHDOG_USEC=1000000")
    it.ends("db")
    it.passes(20)
    (instance,) = it.state.instances.values()
    assert (instance.ready, instance.status, instance.watchdog_s) == (False, "", 5)
    assert it.log == ["+db-0", "+db-0"]


def test_at_the_end_of_all_a_silence_stops_nothing_out_of_turn() -> None:
    it = Supervision(a_plan(web=a_process("web", "db"), db=notifies(watchdog_s=5)), stops=False)
    it.says("db", "READY=1")
    it.end()
    it.passes(60)
    assert it.log == ["+db-0", "+web-0", "-web-0"]


def test_a_line_makes_it_ready_once_and_its_absence_restarts() -> None:
    check = HealthCheck(kind=ProbeKind.LOG, pattern=re.compile("ready"), start_timeout_s=30)
    it = Supervision(
        a_plan(web=a_process("web", "db"), db=a_process("db", health_check=check, restart=Restart(policy=Policy.NEVER)))
    )
    it.passes(29)
    it.answers("db", well=True)
    it.passes(100)
    assert (it.log, it.ready("db")) == (["+db-0", "+web-0"], True)
    late = Supervision(a_plan(db=a_process("db", health_check=check, restart=Restart(policy=Policy.NEVER))))
    late.passes(31)
    assert late.phase("db") is Phase.FAILED
    assert late.reason("db") == "unhealthy: printed no line that matches ready within 30 s"


def answer(status: int = 200, body: bytes = b"", **headers: str) -> Answer:
    return Answer(status, [(name.replace("_", "-"), value) for name, value in headers.items()], bytearray(body))


@pytest.mark.parametrize(
    ("check", "got", "why"),
    [
        (HttpCheck(url="x"), answer(), None),
        (HttpCheck(url="x"), answer(204), "answered 204, not 200"),
        (HttpCheck(url="x", statuses=((200, 299), (401, 401))), answer(401), None),
        (HttpCheck(url="x", statuses=((200, 299), (401, 401))), answer(302), "answered 302, not 200-299, 401"),
        (HttpCheck(url="x", contains="up"), answer(body=b"it is up"), None),
        (HttpCheck(url="x", contains="up"), answer(body=b"down"), "answered with a body that does not hold 'up'"),
        (HttpCheck(url="x", pattern=re.compile('"db": *"ok"')), answer(body=b'{"db":"ok"}'), None),
        (HttpCheck(url="x", pattern=re.compile("^ok$")), answer(body=b"\xffok"), "answered with a body that does not match ^ok$"),
        (HttpCheck(url="x", expected_headers={"x-a": re.compile("^1$")}), answer(x_a="0", x_b="1"), "answered with a header x-a that does not match ^1$"),
        (HttpCheck(url="x", expected_headers={"x-a": re.compile("1")}), answer(x_a="21"), None),
        (HttpCheck(url="x", expected_headers={"x-a": re.compile("1")}), answer(), "answered without the header x-a"),
    ],
)  # fmt: skip
def test_an_answer_is_well_or_not(check: HttpCheck, got: Answer, why: str | None) -> None:
    assert judge(check, got) == why


def check_of(text: str) -> HealthCheck:
    found = plan_from(f"processes: {{web: {{command: [web], health_check: {text}}}}}", {}).processes["web"].health_check
    assert found is not None
    return found


def test_every_word_of_a_check() -> None:
    http = check_of(
        "{type: http, url: 'https://localhost/h', method: HEAD, headers: {X-Key: k}, expected_status: [200, 300-399],"
        " expected_body: up, expected_body_pattern: u., expected_headers: {X-Up: '^1'},"
        " tls: {verify: false, ca_file: /ca.pem, server_name: web, cert_file: /c.pem, key_file: /k.pem}}"
    ).http
    assert http is not None
    assert (http.method, http.headers, http.statuses) == ("HEAD", {"X-Key": "k"}, ((200, 200), (300, 399)))
    assert (http.contains, http.pattern, http.expected_headers) == ("up", re.compile("u."), {"x-up": re.compile("^1")})
    assert (http.tls.verify, str(http.tls.authorities), http.tls.server_name) == (False, "/ca.pem", "web")
    assert (str(http.tls.certificate), str(http.tls.key)) == ("/c.pem", "/k.pem")
    notify = check_of("{type: notify, watchdog: 10s, start_timeout: 0}")
    assert (notify.kind, notify.watchdog_s, notify.start_timeout_s) == (ProbeKind.NOTIFY, 10, 0)
    log = check_of("{type: log, pattern: 'ready to accept', stream: stderr}")
    assert (log.pattern, log.stream, log.start_timeout_s) == (re.compile("ready to accept"), "stderr", 90)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{type: log}", "pattern is missing; give a regular expression"),
        ("{type: log, pattern: '('}", "pattern is no regular expression"),
        ("{type: log, pattern: x, mode: liveness}", "mode is 'liveness'; allowed: both, readiness"),
        ("{type: log, pattern: x, period: 1s}", "period is unknown"),
        ("{type: notify, timeout: 1s}", "timeout is unknown"),
        ("{type: notify, watchdog: often}", "watchdog is 'often'"),
        ("{type: http, url: 'ftp://x'}", "url is 'ftp://x'; give one such as http://127.0.0.1:8080/health"),
        ("{type: http, url: 'http://x/a b'}", "url is 'http://x/a b'"),
        ("{type: http, url: 'http://x', expected_status: 99}", "expected_status is 99; give 100 to 599"),
        ("{type: http, url: 'http://x', expected_status: 300-200}", "expected_status is '300-200'; give 100 to 599"),
        ("{type: http, url: 'http://x', expected_status: []}", "expected_status is an empty list"),
        ("{type: http, url: 'http://x', headers: {'a b': c}}", "headers.a b is no name of a header"),
        (r'{type: http, url: "http://x", headers: {a: "b\r\nc: d"}}', "headers.a must be a text of one line"),
        ("{type: http, url: 'http://x', tls: {verify: false}}", "tls is of no use to a url that begins with http:"),
        ("{type: http, url: 'https://x', tls: {ca_file: ca.pem}}", "tls.ca_file is 'ca.pem'; give the full path"),
        ("{type: http, url: 'https://x', tls: {key_file: /k.pem}}", "tls.cert_file is missing"),
        ("{type: http, url: 'http://x', method: BREW}", "method is 'BREW'; allowed: GET"),
    ],
)
def test_what_cannot_be_a_check(text: str, said: str) -> None:
    with pytest.raises(PlanError) as refused:
        check_of(text)
    assert f"processes.web.health_check.{said}" in str(refused.value)


def test_a_line_that_is_dropped_cannot_be_waited_for() -> None:
    text = "processes: {web: {command: [web], stderr: false, health_check: {type: log, pattern: x, stream: %s}}}"
    with pytest.raises(PlanError, match=r"health_check\.stream waits for a line on stderr, and that is false"):
        plan_from(text % "stderr", {})
    plan_from(text % "both", {})
