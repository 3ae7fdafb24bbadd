import asyncio
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millrace.process.output import Outlet, Reader, Splitter, Tail
from millrace.process.values import Batch, Line


def split(data: bytes, cuts=(), limit=1000):
    splitter, lines, start = Splitter("stdout", limit), [], 0
    for cut in [*sorted(cuts), len(data)]:
        lines += splitter.feed(data[start:cut])
        start = max(start, cut)
    return lines + list(splitter.finish())


def texts(lines):
    return [line.text for line in lines]


def test_every_kind_of_line_end():
    assert texts(split(b"a\nb\r\nc\rd\n\ne")) == ["a", "b", "c", "d", "", "e"]
    assert [line.transient for line in split(b"a\nb\r\nc\rd")] == [False, False, True, False]


@given(
    data=st.binary(max_size=60) | st.text("ab\r\nä€😀", max_size=40).map(str.encode), cuts=st.lists(st.integers(0, 60))
)
def test_lines_do_not_depend_on_where_chunks_end(data, cuts):
    cuts = [c for c in cuts if c <= len(data)]
    assert split(data, cuts) == split(data)


@pytest.mark.parametrize("cut", range(9))
def test_a_line_end_that_is_torn_apart_is_still_one(cut):
    data = b"a\r\nb\rc\r\n"
    assert split(data, [cut]) == split(data)


@given(data=st.binary(max_size=80), cuts=st.lists(st.integers(0, 80)), limit=st.integers(4, 12))
def test_over_long_lines_come_in_pieces_and_lose_nothing(data, cuts, limit):
    lines = split(data.replace(b"\r", b"."), [c for c in cuts if c <= len(data)], limit)
    joined = "".join(line.text + ("" if line.partial else "\n") for line in lines)
    assert joined.removesuffix("\n").count("\n") == data.count(b"\n") - data.endswith(b"\n")
    assert all(len(line.text.encode("utf-8", "replace")) <= 3 * limit for line in lines)


@given(text=st.text("aé€😀", min_size=1, max_size=60), limit=st.integers(4, 12))
def test_a_cut_never_tears_a_character(text, limit):
    assert "".join(texts(split(text.encode(), limit=limit))) == text


def test_the_tail_is_bounded_and_overwrites_progress_like_a_terminal():
    tail = Tail(3, 100)
    for number in range(10):
        tail.add(Line("stdout", f"line {number}"))
    assert texts(tail.lines()) == ["line 7", "line 8", "line 9"]
    tail.add(Line("stderr", "frame=1", transient=True))
    tail.add(Line("stderr", "frame=2", transient=True))
    tail.add(Line("stderr", "done"))
    assert texts(tail.lines()) == ["line 8", "line 9", "done"]
    tail.add(Line("stdout", "x" * 99))
    assert texts(tail.lines()) == ["x" * 99]


def test_a_slow_sink_loses_the_newest_lines_and_is_told_how_many():
    async def scene():
        batches: list[Batch] = []
        gate = asyncio.Event()

        async def sink(batch):
            batches.append(batch)
            await gate.wait()

        outlet = Outlet(sink, max_chars=9 * 65 + 66)
        outlet.add(Line("stdout", "0"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        for number in range(1, 100):
            outlet.add(Line("stdout", str(number)))
        gate.set()
        await outlet.close()
        assert [texts(b.lines) for b in batches] == [["0"], [str(n) for n in range(1, 11)], []]
        assert [b.dropped for b in batches] == [0, 0, 89]

    asyncio.run(scene())


def test_a_sink_that_fails_is_told_what_it_missed():
    async def scene():
        batches: list[Batch] = []

        async def sink(batch):
            if not batches:
                batches.append(batch)
                raise OSError("disk full")
            batches.append(batch)

        outlet = Outlet(sink, max_chars=10_000)
        outlet.add(Line("stdout", "a"))
        for _ in range(3):
            await asyncio.sleep(0)
        outlet.add(Line("stdout", "b"))
        await outlet.close()
        assert batches == [Batch((Line("stdout", "a"),), 0), Batch((Line("stdout", "b"),), 1)]

    asyncio.run(scene())


class CountingReader(Reader):
    """It counts how often it went on after a pause."""

    pauses = 0

    def _go_on(self):
        self.pauses += self._pause is not None
        super()._go_on()

    @property
    def is_done_or_pauses(self):
        return self.ended or self._pause is not None


async def burst(sink, lines=200_000):
    """Read what a thread writes at once, which is many times what the outlet takes; gives the reader."""
    reading, writing = os.pipe()

    def write():
        with open(writing, "wb") as pipe:  # noqa: PTH123  a descriptor
            pipe.writelines(b"%09d\n" % number for number in range(lines))

    outlet = Outlet(sink, max_chars=2_000_000)
    reader = CountingReader(reading, Splitter("stdout", 1000), Tail(10, 1000), outlet)
    sink.reader = reader
    await asyncio.gather(asyncio.to_thread(write), reader.wait())
    await outlet.close()
    return reader


def test_a_burst_stays_in_the_pipe_while_the_sink_is_busy(monkeypatch):
    monkeypatch.setattr("millrace.process.output.PAUSE_S", 60.0)

    class Busy:
        reader = None
        taken, dropped = 0, 0

        async def __call__(self, batch):
            self.taken += len(batch.lines)
            self.dropped += batch.dropped
            while not self.reader.is_done_or_pauses:
                await asyncio.sleep(0)  # one turn of the loop, no waiting

    busy = Busy()
    reader = asyncio.run(burst(busy))
    assert (busy.taken, busy.dropped) == (200_000, 0)
    assert reader.pauses > 1


def test_a_sink_that_does_not_come_back_is_waited_for_once(monkeypatch):
    monkeypatch.setattr("millrace.process.output.PAUSE_S", 0.0)

    class Gone:
        reader = None
        dropped = 0

        async def __call__(self, batch):
            self.dropped += batch.dropped
            await self.reader.wait()

    gone = Gone()
    reader = asyncio.run(burst(gone))
    assert gone.dropped > 0
    assert reader.pauses == 1


@given(
    parts=st.lists(
        st.sampled_from([b"a", b"\n", b"\r", b"\r\n", b"bb", "€😀".encode(), b"\xf0\x9f", b"\xff", b"x" * 9]),
        max_size=40,
    ),
    limit=st.integers(4, 12),
)
def test_whole_chunks_are_split_as_lines_are(parts, limit):
    chunk = b"".join(parts)
    fast, slow = Splitter("stdout", limit), Splitter("stdout", limit)
    assert fast.feed(chunk) == list(slow._any(chunk))
    assert list(fast.finish()) == list(slow.finish())


@given(
    lines=st.lists(st.builds(Line, st.just("stdout"), st.text("x", max_size=9), transient=st.booleans()), max_size=20),
    before=st.integers(0, 20),
)
def test_many_lines_at_once_leave_the_tail_and_the_outlet_as_one_by_one(lines, before):
    async def scene():
        whole, single = Tail(4, 20), Tail(4, 20)
        for tail in (whole, single):
            for line in lines[:before]:
                tail.add(line)
        whole.extend(lines[before:])
        for line in lines[before:]:
            single.add(line)
        assert whole.lines() == single.lines()

        taken = [[], []]

        async def nothing(_):
            return

        for outlet, kept in zip((Outlet(nothing, 700), Outlet(nothing, 700)), taken, strict=True):
            outlet.extend(lines[:before])
            if kept is taken[0]:
                outlet.extend(lines[before:])
            else:
                for line in lines[before:]:
                    outlet.add(line)
            kept += [tuple(outlet._lines), outlet._dropped, outlet._chars]
            await outlet.close()
        assert taken[0] == taken[1]

    asyncio.run(scene())
