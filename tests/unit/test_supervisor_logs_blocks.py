"""What goes through as whole blocks of text comes out as if every line had gone alone."""

import asyncio
import itertools
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from millrace.process.block import Block, Lines
from millrace.process.output import Outlet, Splitter, Tail
from millrace.process.values import Batch, Line
from millrace.runtime.clock import VirtualClock
from millrace.supervisor.logs.book import Logs
from millrace.supervisor.logs.entry import Entry, Level
from millrace.supervisor.logs.forms import as_json, as_plain, as_text
from millrace.supervisor.logs.pipeline import Origin, Pipeline
from millrace.supervisor.logs.ring import MAX_CHARS, Ring
from millrace.supervisor.logs.run import Run
from millrace.supervisor.plan_document import plan_from
from millrace.supervisor.state import Id

AT = datetime(2026, 1, 1, tzinfo=UTC)
WEB = Id("web", 0)
PIECES = st.sampled_from([
    b"hello", b" ", b"ERROR: no", b"[warn]", b"\n", b"\n", b"\n", b"\n\n", b"\r\n", b"\r", b"password=abc", b"token ", b"AKIAIOSFODNN7EXAMPLE",
    b"https://a:b@c/", b"-----BEGIN RSA PRIVATE KEY-----", b"MII", b"-----END RSA PRIVATE KEY-----", "ü€😀".encode(), "İſK".encode(),
    b"\xff\x00", b"\xf0\x9f", b"x" * 30,
])  # fmt: skip
CHUNKS = st.lists(st.lists(PIECES, max_size=12).map(b"".join), max_size=12)
LIMIT = 24
PLANS = [
    f"global: {{log_format: {form}}}\nprocesses: {{web: {{command: [x], logging: {{{logging}}}}}}}"
    for form in ("text", "plain", "json")
    for logging in (
        "",
        "redaction: {enabled: false}",
        "buffer: 3",
        "level_detection: {patterns: {error: hello}, default_level: warn}",
        "min_level: warn",
        "redaction: {patterns: [{pattern: l+, replacement: L}]}",
        "multiline: {pattern: '^h'}",
    )
]


class Kept:
    """A target that keeps everything."""

    is_file = False

    def __init__(self) -> None:
        self.data = b""

    def write(self, data: bytes) -> None:
        self.data += data

    def close(self) -> None:
        pass


def pieces(splitter: Splitter, chunk: bytes, *, whole: bool) -> Sequence[Line]:
    """By lines: as if nothing of it were plain, and with what is between two looks in a tuple."""
    return splitter.feed(chunk) if whole else tuple(splitter._any(splitter._rest + chunk))


async def told(plan: str, chunks: Sequence[bytes], *, whole: bool, gather: int) -> tuple[object, ...]:
    out, err, heard = Kept(), Kept(), []
    book = Logs(
        plan_from(plan, {}), clock=VirtualClock(), targets={"stdout": out, "stderr": err},
        heard=lambda _, entries: heard.extend(entries),
    )  # fmt: skip
    splitters = Splitter("stdout", LIMIT), Splitter("stderr", LIMIT)
    for start in range(0, len(chunks), gather):
        lines = Lines()
        for index, chunk in enumerate(chunks[start : start + gather], start):
            lines.append(pieces(splitters[index % 3 == 2], chunk, whole=whole))
        await book.output(WEB, Batch(lines if whole else tuple(lines)))
    await book.output(WEB, Batch(tuple(line for splitter in splitters for line in splitter.finish())))
    book.closing(WEB)
    await book.close()
    return out.data, err.data, heard, book.last("web", 1000)


@settings(deadline=None)
@given(plan=st.sampled_from(PLANS), chunks=CHUNKS, gather=st.integers(1, 5))
def test_blocks_and_single_lines_give_the_same_bytes_and_entries(plan: str, chunks: list[bytes], gather: int) -> None:
    blocks = asyncio.run(told(plan, chunks, whole=True, gather=gather))
    assert blocks == asyncio.run(told(plan, chunks, whole=False, gather=gather))


def pipeline(text: str = "") -> Pipeline:
    rule = plan_from(f"processes: {{web: {{command: [x], logging: {{{text}}}}}}}", {}).processes["web"].logging
    return Pipeline(Origin(process="web", instance="web-0", stream="stdout"), rule, itertools.count(1))


def lines_of(text: str) -> list[Line]:
    return [Line("stdout", line) for line in text.split("\n")]


@given(text=st.lists(st.sampled_from(["a", "\n", "password=abc", " ERROR: x", "ü"]), max_size=20).map("".join))
def test_a_run_is_written_and_cut_as_its_entries_are(text: str) -> None:
    run, entries = pipeline().feed(Block("stdout", text), 0.0, AT), pipeline().feed(lines_of(text), 0.0, AT)
    assert isinstance(run, Run)
    assert run == entries
    for form in (as_text, as_plain, lambda some: as_text(some, dated=True), lambda some: as_json(some, {})):
        assert form(run) == form(list(entries))
    for count in range(1, len(entries) + 2):
        assert run.last(count) == entries[-count:]


@pytest.mark.parametrize(
    "text",
    ["json: true", "multiline: {pattern: a}", "min_level: warn", "filters: {include: [a]}", "redaction: {patterns: [{pattern: a}]}"],
)  # fmt: skip
def test_where_a_rule_looks_at_single_lines_they_go_alone(text: str) -> None:
    assert not isinstance(pipeline(text).feed(Block("stdout", "a\nb"), 0.0, AT), Run)


def test_a_block_after_a_piece_of_a_line_is_its_end() -> None:
    it = pipeline()
    it.feed([Line("stdout", "pass", partial=True)], 0.0, AT)
    assert [entry.message for entry in it.feed(Block("stdout", "word=abc\nnext"), 0.0, AT)] == ["password=***", "next"]


def test_a_private_key_goes_on_in_the_next_block() -> None:
    it = pipeline()
    it.feed(Block("stdout", "-----BEGIN RSA PRIVATE KEY-----\nMII"), 0.0, AT)
    assert [entry.message for entry in it.feed(Block("stdout", "abc\ndef"), 0.0, AT)] == ["***", "***"]


def test_a_level_behind_a_secret_is_found() -> None:
    for lines in (Block("stdout", "token=abcdefgh ERROR no"), lines_of("token=abcdefgh ERROR no")):
        assert [entry.level for entry in pipeline().feed(lines, 0.0, AT)] == [Level.ERROR]


@example([Block("stdout", ""), Block("stdout", "aa")], (9, 2))
@example([Block("stdout", ""), Block("stdout", "aaa")], (9, 2))
@given(
    parts=st.lists(
        st.builds(Block, st.sampled_from(["stdout", "stderr"]), st.text("a\n", max_size=9))
        | st.lists(st.builds(Line, st.sampled_from(["stdout", "stderr"]), st.text("b", max_size=9), transient=st.booleans()), max_size=3),
        max_size=12,
    ),
    limits=st.tuples(st.integers(1, 9), st.integers(9, 30)),
)  # fmt: skip
def test_the_tail_of_blocks_is_that_of_their_lines(parts: list[Sequence[Line]], limits: tuple[int, int]) -> None:
    whole, single = Tail(*limits), Tail(*limits)
    for part in parts:
        whole.extend(part)
        for line in part:
            single.add(line)
    assert whole.lines() == single.lines()


def test_neither_the_tail_nor_the_ring_keeps_more_blocks_than_it_needs() -> None:
    tail, ring, it = Tail(200, 1 << 16), Ring(1000), pipeline()
    for _ in range(50):
        tail.extend(Block("stdout", "\n".join(["x" * 99] * 100)))
        ring.extend(it.feed(Block("stdout", "\n".join(["x" * 99] * 600)), 0.0, AT))
    assert sum(map(len, tail._blocks)) <= 300
    assert sum(len(block) for block, _ in ring._blocks) <= 1600
    narrow = Ring(3)
    narrow.extend(it.feed(Block("stdout", "\n".join(["y"] * 600)), 0.0, AT))
    assert [run.text for run, _ in narrow._blocks if isinstance(run, Run)] == ["y\ny\ny"]
    for _ in range(4):
        ring.extend(it.feed(Block("stdout", "\n".join(["z" * 60_000] * 30)), 0.0, AT))
        assert 1 <= sum(len(entry.message) for entry in ring.entries()) <= MAX_CHARS


def test_what_waits_for_a_sink_is_counted_in_blocks_as_in_lines() -> None:
    async def scene() -> None:
        gate, batches = asyncio.Event(), []

        async def sink(batch: Batch) -> None:
            batches.append(batch)
            await gate.wait()

        outlet = Outlet(sink, max_chars=5 * 65)
        outlet.extend(Block("stdout", "a\nb\nc"))
        outlet.extend(Block("stdout", "d\ne\nf"))
        outlet.extend(Block("stdout", "g"))
        gate.set()
        await outlet.close()
        assert batches == [Batch([Line("stdout", text) for text in "abcde"]), Batch((), 2)]

    asyncio.run(scene())


@pytest.mark.parametrize(
    ("chunk", "whole"),
    [
        (b"xxxx\n", True), (b"xxxxx\n", False), (b"a\nxxxx\nb\nxxxx\n", True), (b"a\nb\nxxxxx\nb\n", False), (b"a\nb\nc\nxxxxxx\n", False),
        (b"a\nxxxx", True), (b"a\nxxxxx", False), ("aaa\nü€\n".encode(), False), (b"a\r\n", False),
    ],
)  # fmt: skip
def test_a_chunk_is_a_block_where_no_line_is_too_long(chunk: bytes, whole: bool) -> None:
    lines = Splitter("stdout", 4).feed(chunk)
    assert isinstance(lines, Block) == whole
    assert lines == list(Splitter("stdout", 4)._any(chunk))


@given(text=st.text("a\n", max_size=30), most=st.integers(1, 9))
def test_a_block_in_slices_is_the_block(text: str, most: int) -> None:
    block = Block("stdout", text)
    slices = list(block.slices(most))
    assert all(len(one) <= most for one in slices)
    assert [line for one in slices for line in one] == list(block)


def entries_of(run: Sequence[Entry]) -> list[int]:
    return [entry.number for entry in run]


def test_numbers_go_on_from_block_to_line() -> None:
    it = pipeline()
    assert entries_of(it.feed(Block("stdout", "a\nb"), 0.0, AT)) == [1, 2]
    assert entries_of(it.feed(lines_of("c"), 0.0, AT)) == [3]
    assert entries_of(it.feed(Block("stdout", "d"), 0.0, AT)) == [4]


def test_lines_that_cannot_be_written_are_counted_one_by_one() -> None:
    async def scene() -> None:
        plan = plan_from("processes: {web: {command: [x]}}", {})
        book = Logs(plan, clock=VirtualClock(), targets={"stdout": Kept(), "stderr": Kept()})
        book.writers["stdout"].close(30.0)
        await book.output(WEB, Batch(Block("stdout", "a\nb\nc")))
        assert book.writers["stdout"].dropped == 3
        await book.close()

    asyncio.run(scene())
