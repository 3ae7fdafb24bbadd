"""What trees of real processes use, from one look at /proc."""

import asyncio
import ctypes
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import psutil
import pytest

from millrace.process import census as census_module
from millrace.process.census import Census, TreeUsage
from millrace.process.child import Child
from millrace.process.mark import Mark
from millrace.process.orphans import PR_SET_CHILD_SUBREAPER
from millrace.process.values import Spec
from millrace.runtime.clock import SystemClock

PATIENCE_S = 60.0


@pytest.fixture
def adopting() -> Iterator[None]:
    """Orphans come to this process."""
    libc = ctypes.CDLL(None)
    libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    yield
    libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


async def started(folder: Path, *argv: str) -> Child:
    return await Child.start(Spec(argv=argv, cwd=folder, env=dict(os.environ)), clock=SystemClock())


def play(body: Callable[[Census, list[Child]], Awaitable[None]]) -> None:
    async def whole() -> None:
        children: list[Child] = []
        try:
            async with asyncio.timeout(PATIENCE_S):
                await body(Census(), children)
        finally:
            for child in children:
                await child.stop(0.0)

    asyncio.run(whole())


async def seen(census: Census, child: Child, so: Callable[[TreeUsage], bool]) -> TreeUsage:
    while not so(found := census.look({child.pid: child.mark})[child.pid]):
        await asyncio.sleep(0.02)
    return found


def test_a_tree_is_counted_with_all_that_descends_from_it(tmp_path: Path) -> None:
    code = "import threading, time; [threading.Thread(target=time.sleep, args=(1000,)).start() for _ in range(4)]"

    async def body(census: Census, children: list[Child]) -> None:
        children.append(await started(tmp_path, "sh", "-c", f"{sys.executable} -c '{code}' & sleep 1000 & wait"))
        children.append(await started(tmp_path, "sleep", "1000"))
        first = await seen(census, children[0], lambda one: one.threads == 7)
        assert first.processes == 3
        both = census.look({child.pid: child.mark for child in children})
        assert both[children[1].pid].processes == 1
        tree = [(top := psutil.Process(children[0].pid)), *top.children(recursive=True)]
        assert first.rss_bytes == pytest.approx(sum(one.memory_info().rss for one in tree), rel=0.2)
        assert first.pss_bytes == pytest.approx(sum(one.memory_full_info().pss for one in tree), rel=0.2)
        assert first.descriptors == sum(one.num_fds() for one in tree)

    play(body)


def test_time_and_bytes_of_what_has_ended_below_it_stay(tmp_path: Path) -> None:
    work = "import os; [None for _ in range(3_000_000)]; f = open(`f`, `wb`); f.write(b`x` * (1 << 20)); os.fsync(f.fileno())".replace(
        "`", '"'
    )

    async def body(census: Census, children: list[Child]) -> None:
        children.append(
            await started(tmp_path, "sh", "-c", f"{sys.executable} -c '{work}'; touch done; exec sleep 1000")
        )
        while not (tmp_path / "done").exists():
            await asyncio.sleep(0.02)
        found = await seen(census, children[0], lambda one: one.processes == 1)
        assert found.cpu_s >= 0.02
        assert found.written_bytes is None or found.written_bytes >= 1 << 20 or found.written_bytes == 0  # 0 on tmpfs

    play(body)


@pytest.mark.usefixtures("adopting")
def test_an_orphan_that_left_its_session_is_known_by_its_mark(tmp_path: Path) -> None:
    async def body(census: Census, children: list[Child]) -> None:
        children.append(
            await started(tmp_path, "sh", "-c", "setsid sh -c 'setsid sleep 1000 & echo $! > stray'; exec sleep 1000")
        )
        children.append(await started(tmp_path, "sleep", "1000"))
        while not (tmp_path / "stray").exists() or not (tmp_path / "stray").read_text().strip():
            await asyncio.sleep(0.02)
        stray = psutil.Process(int((tmp_path / "stray").read_text()))
        while stray.ppid() != os.getpid() or stray.name() != "sleep":
            await asyncio.sleep(0.02)
        await seen(census, children[0], lambda one: one.processes == 2)
        assert census.look({child.pid: child.mark for child in children})[children[1].pid].processes == 1
        # Asked of its mark once: the figures come from what was found then.
        census_module_marked = census_module._marked
        try:
            census_module._marked = lambda *_: pytest.fail("asked again")  # type: ignore[assignment]
            assert census.look({children[0].pid: children[0].mark})[children[0].pid].processes == 2
        finally:
            census_module._marked = census_module_marked

    play(body)


def test_what_is_no_child_of_ours_is_not_counted(tmp_path: Path) -> None:
    async def body(census: Census, children: list[Child]) -> None:
        children.append(await started(tmp_path, "sh", "-c", "sleep 1000 & wait"))
        await seen(census, children[0], lambda one: one.processes == 2)
        (below,) = psutil.Process(children[0].pid).children()
        nobody = Mark(word="of nobody", number=None)
        # A pid that was collected may be another's by now; and one that nobody has is nothing.
        assert census.look({below.pid: nobody, 2**22 - 1: nobody, 1: nobody}) == {}

    play(body)


def test_proportional_memory_is_read_within_a_budget_and_the_oldest_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(census_module, "PSS_BUDGET_S", 0.0)  # one process in each look
    read: list[int] = []

    def pss(pid: int) -> int:
        read.append(pid)
        return 7

    monkeypatch.setattr(census_module, "_pss", pss)

    async def body(census: Census, children: list[Child]) -> None:
        children += [await started(tmp_path, "sleep", "1000") for _ in range(3)]
        marks = {child.pid: child.mark for child in children}
        for number in range(1, 7):
            found = census.look(marks)
            assert len(read) == number
            assert [one.pss_bytes for one in found.values()].count(7) == min(number, 3)
        assert {*read[:3]} == {*read[3:]} == {*marks}

    play(body)


def test_what_this_user_may_not_see_is_unknown_and_not_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.open

    def refusing(path: str, *more: int) -> int:
        if str(path).endswith(("/io", "/smaps_rollup")):
            raise PermissionError(13, "no")
        return real(path, *more)

    async def body(census: Census, children: list[Child]) -> None:
        children.append(await started(tmp_path, "sleep", "1000"))
        monkeypatch.setattr(os, "open", refusing)
        found = census.look({children[0].pid: children[0].mark})[children[0].pid]
        monkeypatch.setattr(os, "open", real)
        assert (found.pss_bytes, found.read_bytes, found.written_bytes) == (None, None, None)
        assert found.rss_bytes > 0

    play(body)
