"""Group commit on SQLite: what shares a transaction, what runs where, and what a failing unit costs the others."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import apsw
import pytest

from millrace.store.sqlite.connection import Session, open_connection
from millrace.store.sqlite.writer import MAX_BATCH, Writer

Work = Callable[[Writer], Awaitable[None]]


class Commits:
    """Counts what the writer commits."""

    def __init__(self) -> None:
        self.threads: list[int] = []

    def __call__(self) -> bool:
        self.threads.append(threading.get_ident())
        return False


@pytest.fixture
def commits() -> Commits:
    return Commits()


@pytest.fixture
def use(tmp_path: Path, commits: Commits) -> Callable[[Work], None]:
    """Runs a test with a writer on a table `t (n)`."""

    async def started(work: Work) -> None:
        connection = open_connection(tmp_path / "a.db", readonly=False)
        connection.execute("CREATE TABLE t (n INTEGER)")
        connection.set_commit_hook(commits)
        writer = Writer(connection, tmp_path / "a.db", lambda: 0, lambda *_: None)
        try:
            await work(writer)
        finally:
            await writer.stop()

    return lambda work: asyncio.run(started(work))


def _adds(number: int) -> Callable[[Session], int]:
    def unit(session: Session) -> int:
        session.all_of("INSERT INTO t VALUES (?)", number)
        return threading.get_ident()

    return unit


def _numbers(session: Session) -> list[int]:
    return [row[0] for row in session.all_of("SELECT n FROM t ORDER BY n")]


def test_what_comes_together_shares_one_commit_and_runs_on_the_loop(
    use: Callable[[Work], None], commits: Commits
) -> None:
    async def work(writer: Writer) -> None:
        ran = await asyncio.gather(*(writer.submit(_adds(number)) for number in range(MAX_BATCH)))
        assert set(ran) == {threading.get_ident()}
        assert len(commits.threads) == 1
        assert threading.get_ident() not in commits.threads

    use(work)


def test_who_comes_alone_does_not_wait_for_others_and_many_share_a_commit(
    use: Callable[[Work], None], commits: Commits
) -> None:
    async def work(writer: Writer) -> None:
        ages_s = 1000.0
        async with asyncio.timeout(ages_s / 20):
            await writer.submit(_adds(1), gather_s=ages_s)
        assert len(commits.threads) == 1
        for _ in range(10):  # the writer looks once more for what came meanwhile
            await asyncio.sleep(0)
        others = [asyncio.ensure_future(writer.submit(_adds(number), gather_s=ages_s)) for number in (2, 3)]
        for _ in range(10):  # whatever the writer would begin of them has begun
            await asyncio.sleep(0)
        await writer.submit(_adds(4))  # somebody is in a hurry, and takes them along
        await asyncio.gather(*others)
        assert len(commits.threads) == 2

    use(work)


def test_more_than_a_batch_lets_the_loop_turn_between_commits(use: Callable[[Work], None], commits: Commits) -> None:
    async def work(writer: Writer) -> None:
        await asyncio.gather(*(writer.submit(_adds(number)) for number in range(2 * MAX_BATCH + 1)))
        assert len(commits.threads) == 3
        assert await writer.submit(_numbers) == list(range(2 * MAX_BATCH + 1))

    use(work)


def test_what_is_long_runs_on_the_thread_and_by_itself(use: Callable[[Work], None], commits: Commits) -> None:
    async def work(writer: Writer) -> None:
        before, long, after = await asyncio.gather(
            writer.submit(_adds(1)), writer.submit(_adds(2), weight=MAX_BATCH + 1), writer.submit(_adds(3))
        )
        assert before == after == threading.get_ident() != long
        assert len(commits.threads) == 3

    use(work)


def test_a_unit_that_fails_takes_nobody_with_it(use: Callable[[Work], None], commits: Commits) -> None:
    def fails(session: Session) -> None:
        session.all_of("INSERT INTO t VALUES (99)")
        raise LookupError("mine")

    async def work(writer: Writer) -> None:
        answers = await asyncio.gather(
            writer.submit(_adds(1)), writer.submit(fails), writer.submit(_adds(2)), return_exceptions=True
        )
        assert isinstance(answers[1], LookupError)
        assert len(commits.threads) == 2  # each of the others in a transaction of its own
        assert await writer.submit(_numbers) == [1, 2]

    use(work)


def test_a_commit_that_fails_is_tried_for_each_alone(use: Callable[[Work], None], tmp_path: Path) -> None:
    async def work(writer: Writer) -> None:
        refused = iter([True, False, True])

        def hook() -> bool:
            return next(refused, False)

        (connection,) = (one for one in apsw.connections() if one.filename == str(tmp_path / "a.db"))
        connection.set_commit_hook(hook)
        answers = await asyncio.gather(writer.submit(_adds(1)), writer.submit(_adds(2)), return_exceptions=True)
        assert isinstance(answers[0], int)
        assert isinstance(answers[1], Exception)
        assert await writer.submit(_numbers) == [1]

    use(work)


def test_stopping_writes_what_waits(use: Callable[[Work], None], commits: Commits) -> None:
    async def work(writer: Writer) -> None:
        waiting = [asyncio.ensure_future(writer.submit(_adds(number))) for number in range(2 * MAX_BATCH)]
        await asyncio.sleep(0)
        await writer.stop()
        assert all(one.done() for one in waiting)
        assert len(commits.threads) == 2

    use(work)
