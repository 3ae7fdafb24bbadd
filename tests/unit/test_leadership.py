"""Who leads: never for longer than the store was asked for, and never on the word of a clock that stood still."""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, cast

from millrace.domain.masters import RENEW_S, TERM_S, Attendance, Presence, Term
from millrace.runtime.clock import VirtualClock
from millrace.scheduler.duties import Duties
from millrace.scheduler.leadership import Leadership
from millrace.store.store import Store, StoreUnavailableError

ME, OTHER = "m1", "m2"


def led_by(leader: str) -> Attendance:
    return Attendance(leader=leader, epoch=1, masters=())


def test_a_term_ends_by_itself_counted_from_the_question() -> None:
    term = Term(ME)
    assert not term.leads(0)
    assert term.heard(led_by(ME), asked_s=10, term_s=4)
    assert term.leads(13.9)
    assert not term.leads(14)
    assert term.heard(led_by(ME), asked_s=20, term_s=4), "it leads anew"
    assert not term.heard(led_by(ME), asked_s=21, term_s=4), "it led already"
    assert not term.heard(led_by(OTHER), asked_s=22, term_s=4)
    assert not term.leads(22)


class Register:
    """A store that says who leads, when it answers."""

    def __init__(self) -> None:
        self.leader = ME
        self.asked = 0
        self.answers = True
        self.left: list[str] = []
        self.gate: asyncio.Event | None = None

    async def attend(self, master: Presence, *, ttl_s: float) -> Attendance:
        assert (master.id, ttl_s) == (ME, TERM_S)
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if not self.answers:
            raise StoreUnavailableError("gone")
        return led_by(self.leader)

    async def leave(self, master_id: str) -> None:
        self.left.append(master_id)


class Stage:
    def __init__(self, *, alone: bool = False) -> None:
        self.register = Register()
        self.clock = VirtualClock()
        self.complaints: list[Exception] = []
        me = Presence(id=ME, name="me", version="1")
        self.leadership = Leadership(
            cast("Store", self.register), self.clock, me, alone=alone, complain=self.complaints.append
        )


def run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(work, 30))


def test_a_master_leads_from_its_start_on_and_makes_room_at_its_end() -> None:
    async def work() -> None:
        stage = Stage()
        async with stage.leadership:
            assert stage.leadership.leads
            for _ in range(10):
                await stage.clock.advance(RENEW_S)
                assert stage.leadership.leads
            stage.register.leader = OTHER
            await stage.clock.advance(RENEW_S)
            assert not stage.leadership.leads
        assert stage.register.left == [ME]
        assert stage.complaints == []

    run(work())


def test_a_master_that_the_store_does_not_answer_leads_no_longer_than_its_term() -> None:
    async def work() -> None:
        stage = Stage()
        async with stage.leadership:
            stage.register.answers = False
            await stage.clock.advance(TERM_S - 0.1)
            assert stage.leadership.leads
            assert stage.leadership.present == led_by(ME)
            await stage.clock.advance(0.2)
            assert not stage.leadership.leads
            assert stage.leadership.present is None
            assert stage.complaints
            stage.register.answers = True
            await stage.clock.advance(RENEW_S)
            assert stage.leadership.leads

    run(work())


def test_an_answer_that_comes_after_the_term_is_worth_nothing() -> None:
    async def work() -> None:
        stage = Stage()
        async with stage.leadership:
            stage.register.gate = asyncio.Event()
            asked = stage.register.asked
            while stage.register.asked == asked:
                await stage.clock.advance(RENEW_S)
            # The question is on its way for longer than a term; another one may lead by now.
            await stage.clock.advance(TERM_S + 1)
            stage.register.gate.set()
            stage.register.gate = None
            await stage.clock.settle()
            assert not stage.leadership.leads or stage.register.asked > asked + 1

    run(work())


def test_a_master_that_has_its_store_for_itself_asks_nobody() -> None:
    async def work() -> None:
        stage = Stage(alone=True)
        async with stage.leadership:
            await stage.clock.advance(1e9)
            assert stage.leadership.leads
            attendance = stage.leadership.attendance
            assert attendance is not None
            assert [one.name for one in attendance.masters] == ["me"]
        assert (stage.register.asked, stage.register.left) == (0, [])

    run(work())


class Ledger:
    """A store that counts what the duties ask of it."""

    def __init__(self) -> None:
        self.asked: set[str] = set()

    def listen(self, _: object) -> Any:
        return lambda: None

    def __getattr__(self, name: str) -> Any:
        async def answer(*_: object, **__: object) -> Any:
            self.asked.add(name)
            return datetime.now(UTC) if name == "now" else None if name == "next_due" else ()

        return answer


def test_who_does_not_lead_leaves_the_duties_of_one_to_the_one() -> None:
    async def work() -> None:
        clock, ledger, leads = VirtualClock(), Ledger(), [False]
        from millrace.scheduler.farm import Farm
        from millrace.scheduler.offers import Offers

        store = cast("Store", ledger)
        farm = Farm(store=store, clock=clock)

        async def forget(_: object) -> None: ...

        duties = Duties(farm, Offers(store), complain=lambda *_: None, forget=forget, leads=lambda: leads[0])
        async with duties:
            await clock.advance(700)
            of_the_one = {"expire_leases", "orphans", "due", "delete_finished", "forget_audit"}
            assert not of_the_one & ledger.asked
            leads[0] = True
            await clock.advance(700)
            assert of_the_one <= ledger.asked

    run(work())
