"""The schemas of both databases: migrations, the CHECKs against the domain's table, the names of the SQL blocks."""

import asyncio
import itertools
import re
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from store_samples import completes

from millrace.domain.records import NodeState, Outcome
from millrace.domain.roles import Role
from millrace.domain.schedules import Outcome as RunOutcome
from millrace.domain.states import FINAL, HELD, TRANSITIONS, State
from millrace.domain.webhooks import DeliveryState
from millrace.store import migrate
from millrace.store.open import open_store
from millrace.store.queries import load_queries, parse
from millrace.store.store import SchemaTooNewError, StoreUnavailableError

PACKAGES = {"sqlite": "millrace.store.sqlite", "postgres": "millrace.store.postgres"}
ROOT = Path(migrate.__file__).parent


def _blocks(kind: str, name: str) -> set[str]:
    return set(parse((ROOT / kind / name).read_text(encoding="utf-8")))


def _files(kind: str) -> set[str]:
    return {path.name for path in (ROOT / kind).glob("*.sql")}


def test_both_databases_have_the_same_named_statements() -> None:
    assert _files("sqlite") == _files("postgres")
    for name in _files("sqlite") - {"hot.sql"}:
        assert _blocks("sqlite", name) == _blocks("postgres", name), name


def test_every_named_statement_is_used() -> None:
    for kind, package in PACKAGES.items():
        code = "".join(path.read_text(encoding="utf-8") for path in [*(ROOT / kind).glob("*.py"), ROOT / "pages.py"])
        unused = {name for name in load_queries(package) if f'"{name}"' not in code}
        assert not unused, kind


def test_both_databases_have_the_same_migrations() -> None:
    found = [[(one.version, one.name) for one in migrate.load_migrations(package)] for package in PACKAGES.values()]
    assert found[0] == found[1]
    assert found[0][0][0] == 1


_TAKES_AWAY = re.compile(r"\bDROP (TABLE|COLUMN)\b|\bRENAME\b|\bADD COLUMN \w+ \w+ NOT NULL(?! DEFAULT)")


def test_what_takes_away_says_so_in_its_name() -> None:
    # On SQLite, of which one master is the only user, a table may be made anew.
    for migration in migrate.load_migrations(PACKAGES["postgres"])[7:]:  # those before were never released
        found = [one for one in migration.statements if _TAKES_AWAY.search(one)]
        assert migration.takes_away or not found, migration.name


def test_statements_are_split_at_semicolons_that_end_a_line() -> None:
    text = "-- a comment; with one\nCREATE TABLE a (\n  b TEXT DEFAULT ';x'\n);\n\nCREATE TABLE c (d);  \n"
    assert migrate.split_statements(text) == ("CREATE TABLE a (\n  b TEXT DEFAULT ';x'\n)", "CREATE TABLE c (d)")


@pytest.mark.parametrize("text", ["SELECT 1;", "-- name: a\nSELECT 1\n-- name: a\nSELECT 2"])
def test_misnamed_blocks_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="cannot read SQL blocks"):
        parse(text)


_RUN = re.compile(r"(\w+) = '\w+'(?:\s+OR \1 = '\w+')+|target = '\w+'")
"""How SQLite's schema says `a IN ('x', 'y')`: as `a = 'x' OR a = 'y'`."""


def _as_list(found: re.Match[str]) -> str:
    words = ", ".join(re.findall(r"'\w+'", found[0]))
    return f"{found[0].partition(' ')[0]} IN ({words})"


@pytest.mark.parametrize("kind", PACKAGES)
def test_the_words_of_the_schema_are_those_of_the_domain(kind: str) -> None:
    migrations = migrate.load_migrations(PACKAGES[kind])
    text = "\n".join(statement for migration in migrations for statement in migration.statements)
    text = _RUN.sub(_as_list, text)

    def words(pattern: str) -> set[frozenset[str]]:
        """The lists of words that stand in such a rule, each once; later migrations write some rules anew."""
        found = re.findall(pattern, text, re.MULTILINE)
        return {frozenset(re.findall(r"'(\w+)'", one)) for one in found}

    assert words(r"(?:CHECK|^ ) \(state IN \((.*?)\)\)") == {
        frozenset(State), frozenset(DeliveryState), frozenset(NodeState),
        frozenset(NodeState) - {NodeState.QUARANTINED},  # which came later
    }  # fmt: skip
    assert words(r"\(\(finished_at IS NOT NULL\) = \(state IN \((.*?)\)\)\)") == {frozenset(FINAL)}
    assert words(r"\(node_id IS NULL OR state IN \((.*?)\)\)") == {frozenset(HELD)}
    assert words(r"outcome IN \((.*?)\)") == {
        frozenset(Outcome),
        frozenset(Outcome) - {Outcome.SPLIT},  # which came later
        frozenset(RunOutcome),
    }
    assert words(r"CHECK \(role IN \((.*?)\)\)") == {frozenset(Role)}
    rules = re.findall(r"source = '(\w+)' AND \(?target IN \((.*?)\)", text)
    assert {State(source) for source, _ in rules} == {source for source, targets in TRANSITIONS.items() if targets}
    for source, targets in dict(rules).items():  # the last that was written
        assert set(re.findall(r"'(\w+)'", targets)) == set(TRANSITIONS[State(source)]), source


class _Kill(BaseException):
    """Stands for a SIGKILL: nothing catches it, and the connection is dropped without a word."""


class SqliteTarget:
    def __init__(self, path: Path) -> None:
        self.path = path

    async def dump(self) -> list[Any]:
        connection = apsw.Connection(str(self.path))
        found = connection.execute("SELECT type, name, sql FROM sqlite_master ORDER BY 1, 2").fetchall()
        found += connection.execute("SELECT version, name FROM schema_migrations").fetchall()
        connection.close()
        return found

    async def start_and_die(self, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
        """Start with a kill before the statement number `at`; whether it struck."""
        from millrace.store.sqlite import driver

        seen = itertools.count()
        real = driver.migrate

        def dying(connection: apsw.Connection, now_ms: Any) -> None:
            def strike(*_: object) -> bool:
                if next(seen) == at:
                    raise _Kill
                return True

            connection.exec_trace = strike
            real(connection, now_ms)
            connection.exec_trace = None

        monkeypatch.setattr(driver, "migrate", dying)
        try:
            return await _start(str(self.path))
        finally:
            monkeypatch.setattr(driver, "migrate", real)

    @property
    def url(self) -> str:
        return str(self.path)

    async def execute(self, sql: str) -> None:
        connection = apsw.Connection(str(self.path))
        connection.execute(sql)
        connection.close()


class PostgresTarget:
    def __init__(self, url: str) -> None:
        self.url = url

    async def dump(self) -> list[Any]:
        connection = await asyncpg.connect(self.url)
        found: list[Any] = await connection.fetch(
            "SELECT relname, relkind FROM pg_class WHERE relnamespace = 'public'::regnamespace ORDER BY 1"
        )
        found += await connection.fetch("SELECT conname FROM pg_constraint ORDER BY 1")
        found += await connection.fetch("SELECT version, name FROM schema_migrations")
        await connection.close()
        return found

    async def start_and_die(self, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
        from millrace.store.postgres import driver

        seen = itertools.count()
        real = driver.migrate

        async def dying(connection: Any) -> None:
            for name in ("execute", "fetch"):
                monkeypatch.setattr(type(connection), name, _striking(getattr(type(connection), name), seen, at))
            try:
                await real(connection)
            finally:
                monkeypatch.undo()

        monkeypatch.setattr(driver, "migrate", dying)
        try:
            return await _start(self.url)
        finally:
            monkeypatch.setattr(driver, "migrate", real)

    async def execute(self, sql: str) -> None:
        connection = await asyncpg.connect(self.url)
        await connection.execute(sql)
        await connection.close()


def _striking(real: Any, seen: Any, at: int) -> Any:
    async def call(self: Any, *args: Any, **options: Any) -> Any:
        if next(seen) == at:
            self.terminate()
            raise _Kill
        return await real(self, *args, **options)

    return call


async def _start(url: str) -> bool:
    store = open_store(url)
    try:
        await store.start()
    except _Kill:
        return True
    except StoreUnavailableError:  # the transaction that was struck finds its connection gone
        return True
    await store.stop()
    return False


@pytest.fixture(params=PACKAGES)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param == "sqlite":
        return SqliteTarget(tmp_path / "farm.db")
    return PostgresTarget(request.getfixturevalue("new_database")())


def test_a_kill_at_any_statement_of_a_migration_leaves_it_resumable(
    target: Any, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    with asyncio.Runner() as runner:
        strikes = 0
        while True:
            # A patch of its own for each start, as each undoes all of it.
            with pytest.MonkeyPatch.context() as patch:
                if not runner.run(target.start_and_die(strikes, patch)):
                    break
            strikes += 1
        assert strikes > 20
        whole = runner.run(target.dump())
        if isinstance(target, SqliteTarget):
            fresh: Any = SqliteTarget(tmp_path / "fresh.db")
        else:
            fresh = PostgresTarget(request.getfixturevalue("new_database")())
        assert runner.run(_start(fresh.url)) is False
        assert runner.run(fresh.dump()) == whole


def test_a_newer_schema_is_refused(target: Any) -> None:
    with asyncio.Runner() as runner:
        runner.run(_start(target.url))
        runner.run(
            target.execute("INSERT INTO schema_migrations (version, name, applied_at) VALUES (99, 'post_next', 0)")
        )
        store = open_store(target.url)
        with pytest.raises(SchemaTooNewError, match="upgrade Millrace"):
            runner.run(store.start())
        runner.run(store.stop())


def test_masters_that_start_at_once_migrate_once(new_database: Any) -> None:
    url = new_database()

    async def work() -> None:
        stores = [open_store(url) for _ in range(3)]
        await asyncio.gather(*(store.start() for store in stores))
        await asyncio.gather(*(store.ping() for store in stores))
        for store in stores:
            await store.stop()

    asyncio.run(work())


_BEFORE_HOT_ROWS = """
INSERT INTO requirement_classes (digest, needs) VALUES ('d', '{}');
INSERT INTO nodes VALUES ('n', 'f', 'b', 'name', 'ready', 7, 4, 0, 0, 0);
INSERT INTO node_facts VALUES ('n', '{}', '{}');
INSERT INTO jobs (number, id, tenant, queue, priority, labels, profile, max_retries, state, failure_class, failure_message,
  created_at, due_at, queued_at, started_at, finished_at)
VALUES
  (1, 'ja', 't', 'live', 'high', '{}', 'p', 3, 'processing', NULL, NULL, 1000, NULL, 2000, 3000, NULL),
  (2, 'jb', 't', 'live', 'high', '{}', 'p', 3, 'assigned', 'engine', 'broke', 1000, 1500, 2000, 3000, NULL),
  (3, 'jc', 't', 'live', 'high', '{}', 'p', 3, 'failed', 'engine', 'broke', 1000, NULL, 2000, 3000, 4000),
  (4, 'jd', 't', 'live', 'high', '{}', 'p', 3, 'completed', NULL, NULL, 1000, NULL, 2000, 3000, 5000),
  (5, 'je', 't', 'live', 'high', '{}', 'p', 3, 'retrying', 'engine', 'broke', 1000, 6000, 2000, 3000, NULL);
INSERT INTO job_specs SELECT number, '{}' FROM jobs;
INSERT INTO job_facts VALUES (4, '{"seconds": 5}');
INSERT INTO tasks (job, position, class_id, rank, max_retries, state, attempt, node_id, node_epoch, claim_request, queued_at,
  due_at)
VALUES
  (1, 1, 1, 10, 3, 'processing', 1, 'n', 7, 'r', 2000, NULL),
  (2, 1, 1, 5, 3, 'assigned', 2, 'n', 7, 'r', 2000, NULL),
  (3, 1, 1, 0, 3, 'failed', 1, NULL, NULL, NULL, 2000, NULL),
  (4, 1, 1, 0, 3, 'completed', 1, NULL, NULL, NULL, 2000, NULL),
  (5, 1, 1, 0, 3, 'retrying', 1, NULL, NULL, NULL, 2000, 6000);
"""


def test_what_was_stored_before_the_hot_rows_is_there_after(new_database: Any) -> None:
    url = new_database()

    async def before() -> None:
        connection = await asyncpg.connect(url)
        await connection.execute(load_queries(PACKAGES["postgres"])["make_migrations"])
        for statement in migrate.load_migrations(PACKAGES["postgres"])[0].statements:
            await connection.execute(statement)
        await connection.execute("INSERT INTO schema_migrations VALUES (1, 'first', 0)")
        await connection.execute(_BEFORE_HOT_ROWS)
        await connection.close()

    async def work() -> None:
        await before()
        store = open_store(url)
        await store.start()
        jobs = [await store.job(number) for number in range(1, 6)]
        assert [job.state for job in jobs if job] == ["processing", "assigned", "failed", "completed", "retrying"]
        moments = [
            [
                None if at is None else at.timestamp()
                for at in (job.due_at, job.queued_at, job.started_at, job.finished_at)
            ]
            for job in jobs
            if job is not None
        ]
        assert moments == [
            [None, 2.0, 3.0, None], [1.5, 2.0, 3.0, None], [None, 2.0, 3.0, 4.0], [None, 2.0, 3.0, 5.0],
            [6.0, 2.0, 3.0, None],
        ]  # fmt: skip
        assert [job.failure is not None for job in jobs if job] == [False, True, True, False, True]
        assert [await store.facts(job.id) for job in jobs if job] == [None, None, None, {"seconds": 5}, None]
        # The request is known, with both its tasks in their order.
        again = await store.claim(node_id="n", epoch=7, request_id="r", classes=[1], limit=2)
        assert [(one.task_id, one.attempt) for one in again or ()] == [("jb.1", 2), ("ja.1", 1)]
        assert await store.move([completes("ja.1", 1), completes("jb.1", 2)]) == [True, True]
        assert await store.count_jobs() == {State.COMPLETED: 3, State.FAILED: 1, State.RETRYING: 1}
        await store.stop()

    asyncio.run(work())
