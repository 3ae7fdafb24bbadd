"""The shell of health in virtual time: patience, lines, and the end of a run."""

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from millrace.process.values import Spec
from millrace.runtime.clock import VirtualClock
from millrace.supervisor.health.rules import Patience
from millrace.supervisor.health.values import HealthCheck, ProbeKind
from millrace.supervisor.health.vigils import Vigils
from millrace.supervisor.state import Answered, Await, Event, Id, Overdue, Probe

EACH = Id("db", 0)
LOG = HealthCheck(kind=ProbeKind.LOG, pattern=re.compile("ready"), stream="stdout")
Play = Callable[[Vigils, VirtualClock, list[Event]], Awaitable[None]]


def vigils(check: HealthCheck, play: Play) -> list[Event]:
    """What is posted while a run of `db-0` goes on."""
    posted: list[Event] = []

    async def whole() -> None:
        clock = VirtualClock()
        it = Vigils(
            clock=clock, environ={}, check_of=lambda _: check, spec_of=lambda _: Spec(argv=("x",), cwd=Path()),
            belongs=lambda *_: True, mask=lambda _, text: text, post=posted.append,
        )  # fmt: skip
        it.opening(EACH, None)
        it.begin(Probe(EACH, 1))
        await play(it, clock, posted)
        await it.close()

    asyncio.run(whole())
    return posted


def test_the_first_question_comes_after_the_delay_and_the_next_a_period_later(monkeypatch: pytest.MonkeyPatch) -> None:
    check = HealthCheck(kind=ProbeKind.TCP, target="127.0.0.1:1", initial_delay_s=5, period_s=10)
    asked: list[float] = []

    async def ask(_: HealthCheck, *, spec: object, clock: VirtualClock) -> str | None:
        asked.append(clock.monotonic())
        await clock.sleep(2)  # what it takes to answer
        return None if len(asked) == 1 else "refused"

    async def play(it: Vigils, clock: VirtualClock, _: list[Event]) -> None:
        began_s = clock.monotonic()
        for _ in range(400):
            await clock.advance(0.1)
        assert [round(at - began_s, 1) for at in asked] == [5, 17, 29]
        it.closing(EACH)
        await clock.advance(100)
        it.opening(EACH, None)
        it.begin(Probe(EACH, 2))  # the next run begins with its delay, too
        began_s = clock.monotonic()
        await clock.advance(4.9)
        assert len(asked) == 3
        await clock.advance(0.2)
        assert len(asked) == 4

    monkeypatch.setattr("millrace.supervisor.health.vigils.ask", ask)
    assert vigils(check, play) == [Answered(EACH, 1, True), *[Answered(EACH, 1, False, "refused")] * 2]


def test_the_last_patience_counts_and_an_extension_only_lengthens() -> None:
    async def play(it: Vigils, clock: VirtualClock, posted: list[Event]) -> None:
        it.wait(Await(EACH, 1, Patience(90)))
        it.wait(Await(EACH, 1, Patience(10)))
        it.wait(Await(EACH, 1, Patience(5, extend=True)))
        await clock.advance(9.9)
        assert posted == []
        it.wait(Await(EACH, 1, Patience(20, extend=True)))
        await clock.advance(19.9)
        assert posted == []
        await clock.advance(0.2)
        assert posted == [Overdue(EACH, 1)]
        it.wait(Await(EACH, 1, Patience(5, extend=True)))  # there is nothing to extend
        await clock.advance(100)

    assert vigils(LOG, play) == [Overdue(EACH, 1)]


def test_no_patience_waits_without_end_and_none_outlives_the_run() -> None:
    async def play(it: Vigils, clock: VirtualClock, _: list[Event]) -> None:
        it.wait(Await(EACH, 1, Patience(5)))
        it.wait(Await(EACH, 1, Patience(0)))
        await clock.advance(1000)
        it.wait(Await(EACH, 1, Patience(5)))
        it.closing(EACH)
        await clock.advance(1000)
        it.wait(Await(EACH, 1, Patience(5)))
        await clock.advance(1000)

    assert vigils(LOG, play) == []


def test_the_first_line_of_its_stream_counts() -> None:
    async def play(it: Vigils, _: VirtualClock, posted: list[Event]) -> None:
        it.saw(EACH, "stderr", ["ready"])
        it.saw(EACH, "stdout", ["not yet"])
        it.saw(Id("web", 0), "stdout", ["ready"])
        assert posted == []
        it.saw(EACH, "stdout", ["x", "it is ready"])
        it.saw(EACH, "stdout", ["ready"])

    assert vigils(LOG, play) == [Answered(EACH, 1, True)]
