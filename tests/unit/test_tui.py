"""The pure parts of the terminal interface: words, curves, tails of logs, rows, and what may be done."""

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.tui.detail import series
from millrace.tui.drafts import FIELDS, CannotTakeError, Form, line_of, taken
from millrace.tui.plan_text import text_of
from millrace.tui.plot import plot
from millrace.tui.powers import powers
from millrace.tui.rows import chosen, job_row, process_row
from millrace.tui.seen import Seen
from millrace.tui.tail import KEPT, Tail
from millrace.tui.words import percent, plain, size, span
from millrace.wire.v1.supervise import (
    CallerView,
    InstanceUsage,
    InstanceView,
    LineView,
    ProcessView,
    ResourcesView,
    ScheduleView,
    SupervisorHealth,
    UsageView,
)

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "red"),
        ("\x1b]0;title\x07after", "after"),
        ("\x1b]52;c;aGk=\x1b\\after", "after"),
        ("\x1b[2J\x1b[1;1Hdanger", "danger"),
        ("a\rb\x08c\x9bd", "a\ufffdb\ufffdc\ufffdd"),
        ("tab\tbed", "tab bed"),
        ("user\u202etxt.exe", "user\ufffdtxt.exe"),
        ("übergrün ✓", "übergrün ✓"),
    ],
)  # fmt: skip
def test_nothing_that_a_terminal_obeys_is_shown(text: str, shown: str) -> None:
    assert plain(text) == shown


@given(st.text())
def test_no_text_at_all_holds_a_control_character_afterwards(text: str) -> None:
    assert not [one for one in plain(text) if ord(one) < 32 or 127 <= ord(one) < 160]


def test_amounts_are_short() -> None:
    assert [span(one) for one in (None, 0.4, 59.9, 60, 3599, 3600, 90_000)] == [
        "-", "0s", "59s", "1m00s", "59m59s", "1h00m", "1d01h",
    ]  # fmt: skip
    assert [size(one) for one in (None, 0, 999, 1000, 4096, 1_500_000, 10_000_000_000)] == [
        "-", "0B", "999B", "1K", "4K", "1.4M", "9.3G",
    ]  # fmt: skip
    assert [percent(one) for one in (None, 0.0, 99.95, 1600.0)] == ["-", "0.0%", "100.0%", "1600%"]


def test_a_curve_stands_on_zero_and_reaches_the_top() -> None:
    assert plot([0, 1, 2, 4, 8], width=5, height=1) == [" ▁▂▄█"]
    assert plot([8, 4], width=4, height=2) == ["  █ ", "  ██"]
    assert plot([0.001, 1000], width=2, height=1) == ["▁█"]  # what is not nothing is seen
    assert plot([1, 9, 1, 1], width=2, height=1) == ["█▁"]  # no peak is lost
    assert plot([], width=3, height=1) == ["   "]
    assert plot([0, 0], width=2, height=1) == ["  "]


@given(st.lists(st.floats(0, 1e12), max_size=200), st.integers(1, 50), st.integers(1, 5))
def test_a_curve_fills_its_place(values: list[float], width: int, height: int) -> None:
    drawn = plot(values, width=width, height=height)
    assert [len(line) for line in drawn] == [width] * height
    assert ("█" in drawn[0]) is (max(values, default=0.0) > 0)


def line(number: int, text: str, level: Any = "info") -> LineView:
    return LineView(number=number, at=NOON, instance="web-0", stream="stdout", text=text, level=level)


def test_a_tail_keeps_the_last_lines_and_shows_those_that_are_grave_enough() -> None:
    tail = Tail()
    tail.add([line(1, "fine"), line(2, "bad\n  at here", "error"), line(3, "small", "debug")])
    tail.say("a word of ours")
    assert [one.text.partition("web-0 ")[2] or one.text.strip() for one in tail.shown] == [
        "fine", "bad", "at here", "small", "--- a word of ours ---",
    ]  # fmt: skip
    tail.filter("warn")
    tail.add([line(4, "hidden"), line(5, "worse", "error")])
    assert [one.level for one in tail.shown] == ["error", "error", "", "error"]
    tail.filter("debug")
    assert len(tail.shown) == 7
    tail.add(line(number, str(number)) for number in range(KEPT + 10))
    assert (len(tail.shown), tail.dropped) == (KEPT, 17)
    tail.filter("debug")
    assert len(tail.shown) == KEPT


def test_words_are_found_in_both_directions_and_round_the_end() -> None:
    tail = Tail()
    tail.add([line(1, "A needle"), line(2, "hay"), line(3, "a NEEDLE"), line(4, "hay")])
    assert tail.find(3, -1) is None
    tail.words = "needle"
    assert [tail.find(3, -1), tail.find(1, -1), tail.find(-1, -1), tail.find(3, 1)] == [2, 0, 2, 0]
    tail.words = "nothing"
    assert tail.find(0, 1) is None


def instance(name: str, **more: Any) -> InstanceView:
    usual: dict[str, Any] = {
        "id": name, "state": "running", "ready": True, "pid": 7, "started": NOON, "uptime_s": 90.0, "restarts": 1,
        "failures": 0, "reason": "", "last_end": None,
    }  # fmt: skip
    return InstanceView(**(usual | more))


def process(name: str, *instances: InstanceView, **more: Any) -> ProcessView:
    usual: dict[str, Any] = {
        "name": name, "type": "service", "state": "running", "desired": len(instances), "ready": len(instances),
        "max_scale": 10, "depends_on": {}, "instances": [*instances],
    }  # fmt: skip
    return ProcessView(**(usual | more))


def usage(at_s: float, cpu: float | None, pss: int | None = 2048) -> UsageView:
    return UsageView(
        at=NOON + timedelta(seconds=at_s), cpu_s=1.0, cpu_percent=cpu, rss_bytes=4096, pss_bytes=pss, read_bytes=None,
        written_bytes=None, processes=1, threads=1, descriptors=None,
    )  # fmt: skip


def seen(*processes: ProcessView, **more: Any) -> Seen:
    health = SupervisorHealth(status="healthy", ready=True, version="1")
    return Seen(health=health, processes={one.name: one for one in processes}, **more)


def test_a_row_adds_up_what_runs() -> None:
    web = process("web", instance("web-0"), instance("web-1"), instance("web-2", pid=None, uptime_s=None))
    found = seen(web, usage={"web-0": usage(0, 1.5), "web-1": usage(0, None, None), "web-2": usage(0, 50.0)})
    cells = process_row(found, web).cells
    assert cells[:9] == ("web", "running", "3/3", "2 pids", "1.5%", "6K", "1m30s", "3", "service")
    bare = process("web", instance("web-0", uptime_s=None), type="oneshot")
    assert process_row(seen(bare), bare).cells[2:7] == ("-", "7", "-", "-", "-")


def test_what_is_asked_for_is_chosen_and_what_matters_comes_first() -> None:
    web, db = process("web", instance("web-0", restarts=5)), process("db", instance("db-0"), state="failed")
    found = seen(web, db, usage={"web-0": usage(0, 9.0)})

    def names(**asked: Any) -> list[str]:
        return [one.name for one in chosen(found, **asked)]

    assert names() == ["db", "web"]
    assert names(back=True) == ["web", "db"]
    assert names(sort="state") == ["db", "web"]
    assert names(sort="cpu") == names(sort="memory") == names(sort="restarts") == ["web", "db"]
    assert names(words="FAIL") == names(words="d service") == ["db"]
    assert names(words="web fail") == []


def test_a_job_is_shown_without_and_with_its_schedule() -> None:
    job = process("job", instance("job-0", state="scheduled", pid=None), type="scheduled", state="scheduled")
    assert job_row(seen(job), job).cells == ("job", "-", "scheduled", "-", "-", "-", "-", "-", "")
    known = ScheduleView(
        process="job", expression="@daily", timezone="UTC", overlap="forbid", max_concurrent=1, timeout_s=None, state="paused", paused=True,
        next_run=NOON, current=[], queued=0, skipped=0, counts={"succeeded": 3, "failed": 1}, average_s=None,
        last_run=None, last_success=None,
    )  # fmt: skip
    row = job_row(seen(job, schedules={"job": known}), job)
    assert row.cells == ("job", "@daily", "paused", "-", "-", "-", "4", "75%", "")  # a paused one has no next time


def test_the_curve_of_a_process_is_the_sum_of_its_instances() -> None:
    found = ResourcesView(
        period_s=2.0,
        kept_s=60.0,
        instances=[
            InstanceUsage(process="web", instance="web-0", samples=[usage(0, None), usage(2, 1.0), usage(4, 2.0)]),
            InstanceUsage(process="web", instance="web-1", samples=[usage(4.1, 3.0)]),
        ],
    )
    assert [value for _, value in series(found, lambda one: one.cpu_percent)] == [1.0, 5.0]


DOCUMENT = {
    "paths": {
        "/v1/processes/{name}/start": {"post": {"x-access": "operate"}, "parameters": []},
        "/v1/reload": {"get": {"x-access": "read"}, "post": {"x-access": "operate"}},
        "/v1/shutdown": {"post": {"x-access": "admin"}},
        "/v1/resources": {"get": {"x-access": "read"}},
    }
}


@pytest.mark.parametrize(
    ("grants", "granted", "refused"),
    [
        (["read"], {"resources"}, ["start", "reload", "shutdown"]),
        (["read", "operate"], {"resources", "start", "reload"}, ["shutdown"]),
        (["read", "operate", "admin"], {"resources", "start", "reload", "shutdown"}, []),
    ],
)
def test_only_what_there_is_and_what_the_key_opens_is_offered(
    grants: list[str], granted: set[str], refused: list[str]
) -> None:
    found = powers(DOCUMENT, CallerView(name="me", grants=grants))
    assert found.granted == granted
    assert found.refused == refused
    # An older supervisor does not say who we are: a refusal will tell.
    assert powers(DOCUMENT, None).refused == []


LIST, PAIRS, NAMES, NUMBER = (
    next(one for one in FIELDS if one.form is form) for form in (Form.LIST, Form.PAIRS, Form.NAMES, Form.NUMBER)
)


@given(
    st.lists(st.text(), min_size=1),
    st.dictionaries(st.from_regex(r"[A-Z_]{1,5}", fullmatch=True), st.text(), min_size=1),
)
def test_what_a_field_shows_reads_as_the_same_again(words: list[str], env: dict[str, str]) -> None:
    document = {"type": "service", LIST.key: words, "x": {"deep": 1}, PAIRS.key: env}
    for field in (LIST, PAIRS):
        line = line_of(document, field)
        assert line is not None
        assert taken(document, field, line) == document
        assert list(taken(document, field, line)) == list(document)  # in the order in which somebody wrote it


def test_a_field_takes_what_fits_into_a_line_and_leaves_the_rest_to_the_yaml() -> None:
    document = {
        "restart": {"policy": "never"},
        "depends_on": {"db": "ready"},
        "scale": "${N}",
        "env": {"A": [1]},
        "command": "x",
    }
    by_key = {field.key: line_of(document, field) for field in FIELDS}
    assert {key for key, line in by_key.items() if line is None} == {"restart", "depends_on", "env", "command"}
    assert (by_key["scale"], by_key["user"]) == ("${N}", "")
    assert taken({}, NUMBER, " 3 ") == {"scale": 3}
    assert taken({}, NUMBER, "3x") == {"scale": "3x"}  # the supervisor says what is wrong with it
    assert taken({"scale": 3}, NUMBER, " ") == {}
    assert taken({}, NAMES, "a, b  c") == {"depends_on": ["a", "b", "c"]}
    for field, line in ((LIST, "a 'b"), (PAIRS, "A=1 B")):
        with pytest.raises(CannotTakeError):
            taken({}, field, line)


def test_a_plan_is_written_as_lines() -> None:
    plan = {
        "processes": {
            "web": {
                "command": ["a", "b"],
                "env": {},
                "on": True,
                "none": None,
                "hooks": [{"x": 1, "y": [2]}, {"x": {"z": 3}}],
            }
        }
    }
    assert list(text_of(plan)) == [
        "processes:", "  web:", "    command: [a, b]", "    env: {}", "    on: true", "    none: null", "    hooks:",
        "      - x: 1", "        y: [2]", "      - x:", "          z: 3",
    ]  # fmt: skip


def test_nobody_else_pays_for_textual() -> None:
    script = (
        "import sys, millrace.cli.app, millrace.cli.ctl.status, millrace.cli.ctl.tui, millrace.programs.supervise\n"
        "assert 'textual' not in sys.modules and 'millrace.tui.app' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
