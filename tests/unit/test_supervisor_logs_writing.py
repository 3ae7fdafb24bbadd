"""Writing what processes print: never waiting, never losing anything without saying so."""

import asyncio
import errno
import json
import os
import threading
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millrace.process.values import Batch, CannotStart, Line
from millrace.runtime.clock import SystemClock, VirtualClock
from millrace.supervisor.logs.book import PATIENCE_S as PATIENCE_OF_A_CHILD_S
from millrace.supervisor.logs.book import Logs
from millrace.supervisor.logs.rotating import RotatingFile, shifts
from millrace.supervisor.logs.settings import LogFile
from millrace.supervisor.logs.subscription import MAX_WAITING
from millrace.supervisor.logs.writer import CannotWrite, Descriptor, Writer
from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.state import Id

WEB = Id("web", 0)
PATIENCE_S = 30.0


class Slow:
    """A target that takes nothing until it is let."""

    is_file = False

    def __init__(self) -> None:
        self.data = b""
        self.entered = threading.Event()
        self.free = threading.Event()
        self.faults: list[CannotWrite] = []

    def write(self, data: bytes) -> None:
        self.entered.set()
        self.free.wait(PATIENCE_S)
        if self.faults:
            error = self.faults.pop(0)
            self.data += data[: error.written]
            raise error
        self.data += data

    def close(self) -> None:
        pass


def lost(count: int) -> bytes:
    return f"[{count} lost]\n".encode()


def test_who_closes_is_told_when_all_of_it_is_written_and_not_before() -> None:
    slow, told = Slow(), threading.Event()
    writer = Writer(slow, name="x", lost=lost)
    writer.give(b"0\n", 1)
    slow.entered.wait(PATIENCE_S)
    writer.give(b"1\n", 1)
    writer.begin_close(told.set)
    assert not told.is_set()
    slow.free.set()
    assert told.wait(PATIENCE_S)
    assert slow.data == b"0\n1\n"
    again = threading.Event()
    writer.begin_close(again.set)
    assert again.wait(PATIENCE_S)


def test_what_is_too_slow_loses_the_newest_lines_and_says_how_many() -> None:
    slow = Slow()
    writer = Writer(slow, name="x", lost=lost, max_bytes=10)
    writer.give(b"0\n", 1)
    slow.entered.wait(PATIENCE_S)
    for number in range(1, 9):
        writer.give(b"%d\n" % number, 1)
    assert slow.data == b""
    slow.free.set()
    writer.close(PATIENCE_S)
    assert slow.data == b"0\n1\n2\n3\n4\n[4 lost]\n"
    assert writer.dropped == 4


def test_a_full_disk_loses_lines_and_tells_once_when_there_is_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[dict[str, object]] = []
    monkeypatch.setattr(
        "millrace.supervisor.logs.writer.log.warning", lambda event, **fields: told.append({"event": event, **fields})
    )
    slow = Slow()
    slow.faults = [CannotWrite(OSError(errno.ENOSPC, "No space left on device"), written) for written in (3, 0, 0)]
    slow.free.set()
    writer = Writer(slow, name="web.log", lost=lost)

    def give_and_wait(data: bytes) -> None:
        slow.entered.clear()
        writer.give(data, data.count(b"\n"))
        slow.entered.wait(PATIENCE_S)
        while writer._size:
            pass

    for data in (b"a\nb b\nc\n", b"d\n", b"e\n", b"f\n"):
        give_and_wait(data)
    writer.close(PATIENCE_S)
    assert slow.data == b"a\nb\n[4 lost]\nf\n"
    assert told == [
        {
            "event": "supervisor.output_lost",
            "target": "web.log",
            "error": "cannot write: No space left on device",
            "lines": 2,
        }
    ]


def test_nobody_reads_any_more() -> None:
    read, write = os.pipe()
    os.close(read)
    writer = Writer(Descriptor(write), name="stdout", lost=lost, told=False)
    writer.give(b"a\n", 1)
    writer.close(PATIENCE_S)
    writer.give(b"b\n", 1)
    assert writer.dropped == 2
    os.close(write)


def test_a_pipe_that_does_not_block_is_waited_for() -> None:
    read, write = os.pipe()
    os.set_blocking(write, False)
    writer = Writer(Descriptor(write), name="stdout", lost=lost)
    writer.give(b"x" * 300_000 + b"\n", 1)
    got = b""
    while len(got) < 300_001:
        got += os.read(read, 65536)
    writer.close(PATIENCE_S)
    assert writer.dropped == 0
    os.close(read)
    os.close(write)


def test_shifting_old_files() -> None:
    path = Path("web.log")
    assert shifts(path, 2) == [(Path("web.log.1"), Path("web.log.2")), (path, Path("web.log.1"))]
    assert shifts(path, 0) == []


@settings(deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=20), keep=st.integers(0, 3))
def test_a_file_begins_anew_before_it_grows_too_large(tmp_path_factory: pytest.TempPathFactory, sizes, keep) -> None:
    path = tmp_path_factory.mktemp("logs") / "web.log"
    file = RotatingFile(LogFile(path=path, max_bytes=40, keep=keep), wall_s=lambda: 0.0)
    chunks = [b"%d" % (index % 10) * (size - 1) + b"\n" for index, size in enumerate(sizes)]
    for chunk in chunks:
        file.write(chunk)
    file.close()
    old = [path.with_name(f"web.log.{number}") for number in range(9, 0, -1)]
    there = [one for one in old if one.exists()] + [path]
    assert len(there) <= keep + 1
    assert all(one.stat().st_size <= 40 for one in there)
    assert b"".join(chunks).endswith(b"".join(one.read_bytes() for one in there))


def test_a_file_begins_anew_when_it_is_old(tmp_path: Path) -> None:
    now_s = 0.0
    path = tmp_path / "web.log"
    file = RotatingFile(LogFile(path=path, max_age_s=60.0, keep=1), wall_s=lambda: now_s)
    for now_s in (0.0, 59.0, 60.0, 119.0):
        file.write(b"%d\n" % now_s)
    file.close()
    assert (tmp_path / "web.log.1").read_bytes() == b"0\n59\n"
    assert path.read_bytes() == b"60\n119\n"


def test_a_full_disk_as_the_kernel_tells_it() -> None:
    file = RotatingFile(LogFile(path=Path("/dev/full")), wall_s=lambda: 0.0)
    with pytest.raises(CannotWrite, match="No space left"):
        file.write(b"x\n")
    file.close()


# The shell ------------------------------------------------------------------------------------------------------------


def a_book(text: str, clock: VirtualClock) -> tuple[Logs, Slow, Slow]:
    plan = plan_from(text, {})
    out, err = Slow(), Slow()
    out.free.set()
    err.free.set()
    return Logs(plan, clock=clock, targets={"stdout": out, "stderr": err}), out, err


def batch(*lines: str, dropped: int = 0) -> Batch:
    """`!` before a line: it comes from stderr."""
    return Batch(tuple(Line("stderr" if text[:1] == "!" else "stdout", text) for text in lines), dropped)


def test_every_line_is_kept_and_written_with_its_stream() -> None:
    async def scene() -> None:
        book, out, err = a_book("processes: {web: {command: [x]}}", VirtualClock())
        await book.output(WEB, batch("a", "!b", "c", "token=x"))
        book.closing(WEB)
        await book.output(WEB, batch("again", dropped=2))
        assert [e.message for e in book.last("web", 10)] == [
            "a", "!b", "c", "token=***", "[2 lines lost here]", "again",
        ]  # fmt: skip
        assert [e.message for e in book.last("web", 1, stream="stderr", instance=0)] == ["!b"]
        assert book.last("web", 10, instance=1) == book.last("nix", 10) == book.last("web", 0) == []
        await book.close()
        assert out.data == b"web-0 | a\nweb-0 | c\nweb-0 | token=***\nweb-0 | [2 lines lost here]\nweb-0 | again\n"
        assert err.data == b"web-0 | !b\n"
        book.forget(WEB)
        assert book.last("web", 10) == []

    asyncio.run(scene())


def test_json_goes_to_stdout_and_a_stream_can_be_left_out() -> None:
    async def scene() -> None:
        text = "global: {log_format: json}\nprocesses: {web: {command: [x], logging: {labels: {a: b}}}, db: {command: [x], stderr: false}}"
        book, out, err = a_book(text, VirtualClock())
        await book.output(WEB, batch("a", "!b"))
        await book.output(Id("db", 0), batch("c", "!d"))
        await book.close()
        rows = [json.loads(line) for line in out.data.splitlines()]
        assert [(r["instance"], r["stream"], r["message"]) for r in rows] == [
            ("web-0", "stdout", "a"), ("web-0", "stderr", "!b"), ("db-0", "stdout", "c"),
        ]  # fmt: skip
        assert rows[0]["labels"] == {"a": "b"}
        assert err.data == b""
        assert [e.message for e in book.last("db", 9)] == ["c"]

    asyncio.run(scene())


def test_plain_is_just_what_was_printed_each_to_its_own_stream() -> None:
    async def scene() -> None:
        book, out, err = a_book("global: {log_format: plain}\nprocesses: {web: {command: [x]}}", VirtualClock())
        await book.output(WEB, batch("a | b", "!token=0123456789abcdef0123"))
        await book.close()
        assert (out.data, err.data) == (b"a | b\n", b"!token=***\n")

    asyncio.run(scene())


def test_a_stack_trace_comes_out_though_nothing_follows_and_at_the_end() -> None:
    async def scene() -> None:
        clock = VirtualClock()
        book, _, _ = a_book("processes: {web: {command: [x], logging: {multiline: {pattern: '^\\S'}}}}", clock)
        await book.output(WEB, batch("oops", "  at a"))
        assert book.last("web", 9) == []
        await clock.advance(0.9)
        await book.output(WEB, batch("  at b"))
        await clock.advance(0.9)
        assert book.last("web", 9) == []
        await clock.advance(0.2)
        assert [e.message for e in book.last("web", 9)] == ["oops\n  at a\n  at b"]
        await book.output(WEB, batch("last", "  words"))
        book.closing(WEB)
        assert [e.message for e in book.last("web", 1)] == ["last\n  words"]
        assert clock.sleeping == 0
        await book.close()

    asyncio.run(scene())


def test_listeners_hear_what_they_asked_for_and_how_much_they_missed() -> None:
    async def scene() -> None:
        book, _, _ = a_book("processes: {web: {command: [x]}, db: {command: [x]}}", VirtualClock())
        everything, web = book.subscribe(), book.subscribe("web")
        reading = asyncio.create_task(web.read())
        await book.output(Id("db", 0), batch("d"))
        await book.output(WEB, batch("w"))
        news = await reading
        assert news is not None
        assert [e.message for e in news.entries] == ["w"]
        await book.output(WEB, batch(*["x"] * (MAX_WAITING + 5)))
        news = await everything.read()
        assert news is not None
        assert (len(news.entries), news.lost) == (MAX_WAITING, 7)
        with web:
            pass
        await book.output(WEB, batch("y"))
        news = await web.read()
        assert news is not None
        assert (len(news.entries), news.lost) == (MAX_WAITING, 5)
        assert await web.read() is None
        await book.close()
        assert (await everything.read()) is not None
        assert await everything.read() is None

    asyncio.run(scene())


def test_a_log_file_has_the_time_and_a_folder_that_is_not_there_refuses_the_start(tmp_path: Path) -> None:
    async def scene() -> None:
        text = f"""processes:
  web: {{command: [x], logging: {{file: {{path: {tmp_path}/web.log}}}}}}
  bad: {{command: [x], logging: {{file: {{path: {tmp_path}/no/bad.log}}}}}}"""
        clock = VirtualClock()
        book, _, _ = a_book(text, clock)
        with pytest.raises(CannotStart, match=r"cannot write the log file .*bad.log: No such file"):
            book.opening(Id("bad", 0))
        book.opening(WEB)
        book.opening(Id("web", 1))
        await book.output(WEB, batch("a password=x"))
        clock.step_wall(timedelta(days=1).total_seconds())
        await book.output(Id("web", 1), batch("!b"))
        await book.close()
        assert (tmp_path / "web.log").read_text() == (
            "2026-01-01T00:00:00.000Z web-0 stdout | a password=***\n2026-01-02T00:00:00.000Z web-1 stderr | !b\n"
        )

    asyncio.run(scene())


class Disk(Slow):
    """It goes on only while somebody waits for it."""

    is_file = True


class Waiting(SystemClock):
    """For whoever waits the disk goes on; where there is none, only time does."""

    def __init__(self, *disks: Disk) -> None:
        self.disks = disks
        self.waits = 0
        self.s = 0.0

    def monotonic(self) -> float:
        return self.s

    async def sleep(self, seconds: float) -> None:
        self.waits += 1
        self.s += 0.0 if self.disks else seconds
        for disk in self.disks:
            disk.free.set()
        await asyncio.sleep(0)  # one turn of the loop, no waiting


def burst(out: Slow, clock: Waiting, lines: int = 200) -> Logs:
    """Each line takes a hundredth of the room; closed when it is returned."""
    plan = plan_from("{global: {log_format: plain}, processes: {web: {command: [x]}}}", {})

    async def scene() -> Logs:
        book = Logs(plan, clock=clock, targets={"stdout": out, "stderr": out})
        writer = book.writers["stdout"]
        writer._max = 1000
        for number in range(lines):
            await book.output(WEB, batch(f"{number:09}"))
        out.free.set()
        await book.close()
        return book

    return asyncio.run(scene())


def test_a_burst_waits_for_a_disk_and_loses_nothing() -> None:
    disk = Disk()
    clock = Waiting(disk)
    assert burst(disk, clock).writers["stdout"].dropped == 0
    assert disk.data.split() == [f"{number:09}".encode() for number in range(200)]
    assert clock.waits > 0


def test_a_disk_that_does_not_move_is_waited_for_once() -> None:
    disk = Disk()
    clock = Waiting()
    assert burst(disk, clock).writers["stdout"].dropped > 0
    assert PATIENCE_OF_A_CHILD_S <= clock.s < 0.1


def test_nobody_waits_for_a_reader() -> None:
    reader, clock = Slow(), Waiting()
    assert burst(reader, clock).writers["stdout"].dropped > 0
    assert clock.waits == 0


def test_a_descriptor_knows_whether_a_disk_is_behind_it(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    with (tmp_path / "log").open("w") as file:
        assert Descriptor(file.fileno()).is_file
    assert not Descriptor(writing).is_file
    os.close(reading)
    os.close(writing)
    assert not Descriptor(writing).is_file
