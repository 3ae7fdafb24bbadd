"""A look below ourselves: only our children are asked about, and no end is believed before what it left was looked for."""

import asyncio

import pytest

from millrace.process import look as looking
from millrace.process.look import Below, Process
from millrace.process.mark import Mark
from millrace.process.own import adopt, claim, release
from millrace.process.tree import Tree

CHILD, STRAY, OTHER = 2**22 + 1, 2**22 + 2, 2**22 + 3  # pids that nobody has
MARK = Mark(word="w", number=None)


class Machine:
    """What /proc tells: for each pid its parent, session and state, and who are our children."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.all: dict[int, tuple[int, str]] = {}
        self.ours: list[int] = []
        self.asked: list[int] = []
        monkeypatch.setattr(looking, "read_process", self.read)
        monkeypatch.setattr(looking, "children_of", lambda pid, _: list(self.ours) if pid not in self.all else [])
        monkeypatch.setattr(looking, "processes", lambda: pytest.fail("the whole table was read"))

    def read(self, pid: int) -> Process | None:
        self.asked.append(pid)
        found = self.all.get(pid)
        if found is None:
            return None
        session, state = found
        return Process(pid=pid, parent=1, session=session, state=state, start_ticks=2**60, cpu_s=0.0, rss_bytes=0)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch):
    adopt(yes=True)
    claim(CHILD)
    claim(OTHER)
    yield Machine(monkeypatch)
    adopt(yes=False)
    release(CHILD)
    release(OTHER)


def test_the_end_of_a_child_that_left_nothing_asks_about_nobody_else(machine: Machine) -> None:
    machine.all = {CHILD: (CHILD, "Z"), OTHER: (OTHER, "S")}
    machine.ours = [CHILD, OTHER]
    assert Tree(CHILD, MARK).members() == []
    assert set(machine.asked) == {CHILD}


def test_what_came_to_us_is_of_the_tree_by_its_session(machine: Machine) -> None:
    machine.all = {CHILD: (CHILD, "Z"), STRAY: (CHILD, "S")}
    machine.ours = [CHILD, STRAY]
    assert [one.pid for one in Tree(CHILD, MARK).members()] == [STRAY]


def test_what_is_left_by_an_end_that_is_seen_later_in_a_look_is_seen_too(machine: Machine) -> None:
    machine.all = {CHILD: (CHILD, "S"), OTHER: (OTHER, "Z")}
    machine.ours = [CHILD, OTHER]
    now = Below()
    assert list(now.astray()) == []  # another tree has looked
    machine.all = {CHILD: (CHILD, "Z"), STRAY: (CHILD, "S")}  # then the child ends, and leaves one
    machine.ours = [CHILD, OTHER, STRAY]
    ended = now.find(CHILD)
    assert ended is not None
    assert not ended.alive
    assert [one.pid for one in now.astray()] == [STRAY]


def test_what_a_stray_leaves_while_it_is_looked_at_is_seen(machine: Machine) -> None:
    machine.all = {CHILD: (CHILD, "Z"), STRAY: (CHILD, "Z"), OTHER + 1: (CHILD, "S")}
    machine.ours = [CHILD, STRAY]
    read = machine.read

    def and_leaves(pid: int) -> Process | None:
        if pid == STRAY:
            machine.ours = [CHILD, STRAY, OTHER + 1]
        return read(pid)

    looking.read_process = and_leaves  # put back by the fixture's monkeypatch
    assert [one.pid for one in Tree(CHILD, MARK).members()] == [OTHER + 1]


def test_an_end_that_a_pidfd_told_of_is_asked_about_no_more_and_what_it_left_is_seen_in_the_same_turn(
    machine: Machine,
) -> None:
    async def body() -> list[Process]:
        machine.all = {CHILD: (CHILD, "S")}
        machine.ours = [CHILD]
        tree = Tree(CHILD, MARK)
        assert [one.pid for one in tree.members()] == [CHILD]  # a look of this turn
        machine.all = {CHILD: (CHILD, "Z"), STRAY: (CHILD, "S")}
        machine.ours = [CHILD, STRAY]
        machine.asked.clear()
        tree.end_was_seen()
        return tree.members()

    assert [one.pid for one in asyncio.run(body())] == [STRAY]
    assert set(machine.asked) == {STRAY}
