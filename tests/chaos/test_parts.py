"""What injects and what judges does what it says: on a server that counts, and on histories made by hand."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from random import Random

import pytest

from chaos.bugs import ALL
from chaos.evidence import Evidence, replay
from chaos.faults import Happened
from chaos.plan import draw
from chaos.proxy import Door, Line, Weather
from chaos.recovery import alone
from chaos.report import quantile
from chaos.witness import Leaders
from sim.history import History

ANSWER = b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nwell"
ASKED = b"POST /v1/jobs/j01a21f5e61e77e471007b1547b06feb5/cancel HTTP/1.1\r\n\r\n"


class Counted:
    """A server that counts the bytes of requests, and a door before it."""

    def __init__(self) -> None:
        self.line = Line()
        self.statuses: Counter[tuple[str, int]] = Counter()
        self.heard = bytearray()
        self.hears = asyncio.Event()

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1 << 16):
            self.heard += data
            self.hears.set()
            writer.write(ANSWER)
        writer.close()

    async def ask(self) -> bytes:
        reader, writer = await asyncio.open_connection(*self.door.address)
        try:
            writer.write(ASKED)
            return await reader.read(1 << 16)
        finally:
            writer.close()

    @asynccontextmanager
    async def serving(self) -> AsyncIterator["Counted"]:
        server = await asyncio.start_server(self.answer, "127.0.0.1", 0)
        self.door = Door(self.line, server.sockets[0].getsockname(), Random(1), self.statuses)
        await self.door.open("127.0.0.1")
        yield self
        await self.door.end()
        server.close()


def behind_a_door(test: Callable[[Counted], Awaitable[None]]) -> None:
    async def run() -> None:
        async with Counted().serving() as counted, asyncio.timeout(60):
            await test(counted)

    asyncio.run(run())


def test_a_door_lets_through_and_counts() -> None:
    async def test(counted: Counted) -> None:
        assert await counted.ask() == ANSWER
        assert counted.statuses == {("POST /v1/jobs/*/cancel", 200): 1}

    behind_a_door(test)


@pytest.mark.parametrize(
    ("weather", "heard"),
    [(Weather(lost_request=1.0), 0), (Weather(lost_reply=1.0), len(ASKED)), (Weather(half=1.0), len(ASKED) // 2)],
)
def test_a_connection_breaks_where_the_weather_says(weather: Weather, heard: int) -> None:
    async def test(counted: Counted) -> None:
        counted.line.weather = weather
        with pytest.raises(ConnectionResetError):
            raise ConnectionResetError if (got := await counted.ask()) == b"" else AssertionError(got)
        if heard:
            await counted.hears.wait()
        assert len(counted.heard) == heard

    behind_a_door(test)


def test_a_cut_keeps_back_and_a_heal_lets_go() -> None:
    async def test(counted: Counted) -> None:
        counted.line.cut(up=False, down=True)
        asking = asyncio.create_task(counted.ask())
        await counted.hears.wait()  # one way only
        assert not asking.done()
        counted.line.heal()
        assert await asking == ANSWER

    behind_a_door(test)


def test_a_closed_door_refuses_and_opens_where_it_was() -> None:
    async def test(counted: Counted) -> None:
        address = counted.door.address
        await counted.door.close()
        with pytest.raises(ConnectionRefusedError):
            await counted.ask()
        await counted.door.open("127.0.0.1")
        assert counted.door.address == address
        assert await counted.ask() == ANSWER

    behind_a_door(test)


def test_a_seed_is_a_plan() -> None:
    plan = draw(3, store="postgres", seconds=60)
    assert plan == draw(3, store="postgres", seconds=60)
    assert plan != draw(4, store="postgres", seconds=60)
    assert {fault.kind for fault in draw(3, store="sqlite", seconds=60, kinds=("stop",)).faults} == {"stop"}
    crashes = draw(3, store="sqlite", seconds=60, kinds=("crash@master",)).faults
    assert {(fault.kind, fault.target) for fault in crashes} == {("crash", "master0")}
    # As cards are dealt: every kind has come when the first comes again.
    kinds = [fault.kind for fault in draw(3, store="postgres", seconds=300).faults]
    first = next(index for index, kind in enumerate(kinds) if kind in kinds[:index])
    assert set(kinds[:first]) == set(kinds)


def test_a_quantile_is_a_value_that_was_there() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.5) == 2.0
    assert quantile([float(n) for n in range(1, 101)], 0.99) == 99.0
    assert quantile([5.0], 0.99) == 5.0


@pytest.mark.parametrize(
    ("kind", "target", "at_s", "leads", "is_alone"),
    [
        ("crash", "worker1", 10.5, False, True),
        ("weather", "master0", 10.5, False, True),  # that is the line of people
        ("out-full", "outputs", 10.5, False, True),
        ("stop", "worker0", 10.5, False, False),
        ("db-away", "database", 8.0, False, False),  # it was back, and may still be felt
        ("crash", "master0", 5.0, False, True),
        ("crash", "master0", 5.0, True, False),  # whoever follows it does not lead yet
        ("crash", "worker0", 12.5, False, True),  # it ran again by then
    ],
)
def test_what_a_lost_worker_needs_is_known(kind: str, target: str, at_s: float, leads: bool, is_alone: bool) -> None:
    lost = Happened(kind="crash", target="worker0", at_s=10.0, lasts_s=0.2, leads=False)
    other = Happened(kind=kind, target=target, at_s=at_s, lasts_s=0.5, leads=leads)
    assert alone([lost, other], lost, 12.0) is is_alone


def evidence(*moves: tuple[object, ...], state: str, attempt: int) -> Evidence:
    """Of one job with these moves: (source, target, reason, attempt, actor)."""
    made = Evidence()
    keep = made._keep
    keep("jobs", ("number", "id", "state", "finished_at", "labels"), [(1, "j1", state, 9, "{}")])
    keep(
        "tasks",
        (
            "job",
            "position",
            "class_id",
            "rank",
            "max_retries",
            "state",
            "attempt",
            "spent",
            "losses",
            "node_id",
            "node_epoch",
            "split",
            "hedges",
        ),
        [(1, 1, 1, 1, 3, state, attempt, 0, 0, None, None, None, None)],
    )
    keep("attempts", ("job", "position", "attempt", "node_id", "outcome", "failure_class"), [])
    keep(
        "nodes", ("id", "epoch", "state", "lease_until", "boot_id", "slots", "name", "seen_at"),
        [(name, 1, "ready", 0, "b", 1, name, 0) for name in ("n1", "n2")],
    )  # fmt: skip
    keep("outputs", ("job", "name", "location", "sha256", "size"), [])
    keep(
        "transitions", ("seq", "job", "position", "source", "target", "at", "reason", "attempt", "actor"),
        [(seq, 1, 1, move[0], move[1], seq, move[2], move[3], move[4]) for seq, move in enumerate(moves, 1)],
    )  # fmt: skip
    return made


ACCEPTED = (None, "queued", "accepted", 0, "person")
CLAIMED = ("queued", "assigned", "claimed", 1, "n1")
STARTED = ("assigned", "processing", "the engine started", 1, "n1")
COMPLETED = ("processing", "completed", "completed", 1, "n1")
BY_ANOTHER = ("processing", "completed", "completed", 1, "n2")


@pytest.mark.parametrize(
    ("moves", "attempt", "broken"),
    [
        ((ACCEPTED, CLAIMED, STARTED, COMPLETED), 1, set()),
        ((ACCEPTED, CLAIMED, STARTED, BY_ANOTHER), 1, {"I3"}),
        ((ACCEPTED, CLAIMED, COMPLETED), 1, {"I7"}),
        ((ACCEPTED, CLAIMED, STARTED, COMPLETED, COMPLETED), 1, {"I3", "I4", "I7"}),
        ((ACCEPTED, CLAIMED, STARTED, COMPLETED), 2, {"I7"}),
        ((ACCEPTED, ACCEPTED, CLAIMED, STARTED, COMPLETED), 1, {"I8"}),
        ((CLAIMED, STARTED, COMPLETED), 1, {"I7"}),
    ],
)
def test_a_history_that_cannot_be_is_told(
    moves: tuple[tuple[object, ...], ...], attempt: int, broken: set[str]
) -> None:
    found: set[str] = set()
    replay(evidence(*moves, state="completed", attempt=attempt), lambda invariant, _: found.add(invariant))
    assert found == broken


@pytest.mark.parametrize(
    ("heard", "broken"),
    [
        ([("a", 1.0), ("a", 1.1), ("b", 6.0), ("b", 6.1), ("a", 12.0)], 0),
        ([("a", 1.0), ("b", 1.2), ("a", 1.4)], 1),
        ([("a", 1.0), ("b", 1.2), ("b", 1.4)], 0),  # the next term may begin when one has ended
    ],
)
def test_two_leaders_at_one_moment_are_told(heard: list[tuple[str, float]], broken: int) -> None:
    found: list[str] = []
    leaders = Leaders({}, "", History(lambda: 0.0), lambda invariant, _: found.append(invariant))
    for name, at_s in heard:
        leaders._heard(name, at_s, at_s + 0.05)
    assert found == ["I11"] * broken
    assert leaders.leader == heard[-1][0]


def test_bugs_are_planted_where_they_can_be_told_apart() -> None:
    assert len(ALL) >= 6
    assert all(planted.breaks for planted in ALL.values())
    for planted in ALL.values():
        for owner, attribute, value in planted.plant():
            assert getattr(owner, attribute) is not value
