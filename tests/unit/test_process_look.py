"""Looks at all processes are shared within a turn of the event loop, and never kept for the next."""

import asyncio
import os
import subprocess

from millrace.process.mark import Carried, child_mark
from millrace.process.tree import Tree, look


def test_a_look_is_shared_in_one_turn_and_new_in_the_next() -> None:
    async def body() -> None:
        first = look()
        assert look() is first
        assert os.getpid() in first.table
        await asyncio.sleep(0)
        assert look() is not first

    asyncio.run(body())
    assert look() is not look()  # without an event loop there are no turns


def test_many_trees_take_one_look_together() -> None:
    async def body() -> None:
        trees = [Tree(2**22 + number, child_mark()) for number in range(50)]  # pids that nobody has
        before = look()
        assert [tree.members() for tree in trees] == [[]] * len(trees)
        assert look() is before

    asyncio.run(body())


def test_a_process_that_came_meanwhile_is_seen_in_the_next_turn() -> None:
    async def body() -> None:
        look()
        with subprocess.Popen(["sleep", "1000"], start_new_session=True) as process:  # noqa: ASYNC220  it is there at once
            await asyncio.sleep(0)
            found = Tree(process.pid, child_mark()).members()
            process.kill()
        assert [one.pid for one in found] == [process.pid]

    asyncio.run(body())


def test_a_mark_is_known_by_its_word_or_its_number() -> None:
    mark, other = child_mark(), child_mark()
    assert mark.among(Carried(b"MILLRACE_CHILD=outer:" + mark.word.encode() + b"\0", None))
    assert mark.among(Carried(b"", mark.number)) is (None if mark.number is None else True)
    assert mark.among(Carried(b"PATH=/bin\0", other.number)) is False
    assert mark.among(Carried(None, None)) is None  # nothing can be seen
