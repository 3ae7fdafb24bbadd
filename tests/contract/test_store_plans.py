"""EXPLAIN: the hot statements walk their index in both databases, also with a long history."""

import asyncio
import re
from typing import Any

import asyncpg
import pytest
from store_samples import NEEDS, a_job

from millrace.domain.failures import FailureClass
from millrace.domain.order import Queue
from millrace.domain.states import State
from millrace.store.open import open_store
from millrace.store.pages import page_statement
from millrace.store.postgres.claims import CLAIM
from millrace.store.postgres.connect import HOT_SETTINGS, SETTINGS
from millrace.store.postgres.jobs import _ADD
from millrace.store.postgres.moves import _MOVES, _MOVES_OPEN, _REPORTS, _REPORTS_OPEN
from millrace.store.postgres.nodes import _HEARTBEATS
from millrace.store.queries import load_queries
from millrace.store.sqlite.connection import open_connection
from millrace.store.store import JobFilter

SQLITE = load_queries("millrace.store.sqlite")
POSTGRES = load_queries("millrace.store.postgres")


@pytest.fixture
def explain(farm: Any) -> Any:
    """Gives the plan of a statement as text."""
    farm.run(_fill(farm.store))

    def sqlite(sql: str, *args: object) -> str:
        connection = open_connection(farm.path, readonly=True)
        try:
            return "\n".join(row[3] for row in connection.execute("EXPLAIN QUERY PLAN " + sql, args))
        finally:
            connection.close()

    async def postgres(sql: str, *args: object) -> str:
        connection = await asyncpg.connect(farm.url, server_settings=SETTINGS)
        try:
            return "\n".join(row[0] for row in await connection.fetch("EXPLAIN " + sql, *args))
        finally:
            await connection.close()

    return sqlite if farm.kind == "sqlite" else lambda sql, *args: farm.run(postgres(sql, *args))


async def _fill(store: Any) -> None:
    class_id = await store.class_of(NEEDS)
    await store.add_jobs([a_job(class_id) for _ in range(600)])  # a few pages, so that indexes differ in height


@pytest.fixture(params=["unknown", "empty", "full"])
def explain_hot(request: pytest.FixtureRequest, new_database: Any) -> Any:
    """Gives the plan of a statement for all arguments, with statistics that are missing, of empty tables, or true."""
    url = new_database()

    async def prepare() -> None:
        store = open_store(url)
        await store.start()
        if request.param == "empty":
            await _analyze(url)
        await _fill(store)
        if request.param == "full":
            await _analyze(url)
        await store.stop()

    async def plan(sql: str) -> str:
        connection = await asyncpg.connect(url, server_settings=HOT_SETTINGS)
        try:
            await connection.execute(f"PREPARE hot AS {sql}")
            nulls = ", ".join(["NULL"] * len(set(re.findall(r"\$\d+", sql))))
            values = f"({nulls})" if nulls else ""
            return "\n".join(row[0] for row in await connection.fetch(f"EXPLAIN EXECUTE hot {values}"))
        finally:
            await connection.close()

    asyncio.run(prepare())
    return lambda sql: asyncio.run(plan(sql))


async def _analyze(url: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


def test_the_claim_walks_the_index_of_queued_tasks(farm: Any, explain: Any) -> None:
    if farm.kind == "sqlite":
        plan = explain(SQLITE["claim_next"], 1, "", 4)
        assert plan == "SEARCH tasks USING INDEX tasks_lanes (class_id=? AND lane=?)"
        return
    # For one task and for several: without statistics, other indexes can look as cheap for a single row.
    for count in (1, 4):
        _check_claim(explain(CLAIM, [1, 2], ["n"] * count, [1] * count, ["r"] * count, [1] * count))


def _check_claim(plan: str) -> None:
    assert "Index Scan using tasks_lanes on tasks q" in plan or "Index Only Scan using tasks_lanes on tasks q" in plan
    assert re.search(r"Index Cond: \(\(class_id = c\.class_id\) AND \(lane = .*lane\)\)", plan)
    # The head of each class comes out of the index in order; the only sort is that of the merged heads.
    assert not re.search(r"Sort.*\n.*\n.*tasks_lanes", plan)


def test_hot_statements_look_up_each_row_whatever_the_statistics_say(explain_hot: Any) -> None:
    claims = [CLAIM, *_REPORTS.values()]
    hot = [*_ADD.values(), POSTGRES["known_keys"], *claims, *_MOVES.values(), _MOVES_OPEN, _REPORTS_OPEN]
    hot += [POSTGRES["await_rival"]]
    for sql in [*hot, *_HEARTBEATS.values(), POSTGRES["held"]]:
        plan = explain_hot(sql)
        _check_lookups(plan)
        if sql in claims:
            _check_claim(plan)


def _check_lookups(plan: str) -> None:
    """Every table is read through an index and a condition on it, or by the places of rows that were found so."""
    assert set(re.findall(r"Seq Scan on (\w+)", plan)) <= {"claims_gate"}
    lines = plan.splitlines()
    for number, line in enumerate(lines):
        # What jobs wait for is read whole where old jobs are deleted, once a minute.
        if re.search(r"Index (Only )?Scan", line) and " on dependencies" not in line:
            assert "Index Cond" in lines[number + 1], plan


def test_moves_and_heartbeats_walk_primary_keys(farm: Any, explain: Any) -> None:
    if farm.kind == "sqlite":
        names: dict[str, tuple[object, ...]] = {
            "move_find": ("j", 1),
            "move_task": (1, 1, "paused", 0, None, True, 0, 0, False, True, None, None, None),
            "claim_next_for": (1, "", "n", 0),
            "held_classes": ("n", 1, 0, 0),
            "newest_turn": (1, 0),
            "following_turn": (1, 0, "t"),
            "last_turn": (1, 0, "t"),
            "weights": (),
            "counts": ("t", 0),
            "lanes": (),
            "count_moved": ("t", 0, 0, 0),
            "move_job": (1, "paused", 0, None, None, None, False, False, False),
            "claim_node": ("n", 1, "r"),
            "claimed": (1, 1),
            "heartbeat": ("n", 1, 0, 0),
            "held": ("n", 1),
            "due": (0, 10),
            "orphans": (10,),
            "left_by": ("n", 1, 10),
            "queued_classes": (),
            "add_transition": (1, 1, None, "queued", 0, "", 0, ""),
        }
        for name, args in names.items():
            for line in explain(SQLITE[name], *args).splitlines():
                # Only the tables of classes and (through an index of the running tasks) of orphans are walked whole.
                if line.startswith("SCAN"):
                    # Of tenants, those that may run only so many, or have another weight than one.
                    assert line.startswith((
                        "SCAN c", "SCAN t USING INDEX tasks_held", "SCAN tenants USING INDEX tenants_bounded",
                        "SCAN tenants USING COVERING INDEX tenants_weighted",
                    )), (name, line)  # fmt: skip
        return
    assert "tasks_held" in explain(POSTGRES["held"], ["n"])
    assert "tasks_due" in explain(POSTGRES["due"], 10)
    assert "tasks_held" in explain(POSTGRES["orphans"], 10)
    assert "tasks_held" in explain(POSTGRES["left_by"], "n", 1, 10)
    assert "tasks_waiting" in explain(POSTGRES["queued_classes"])


@pytest.mark.parametrize(
    ("only", "index"),
    [
        (JobFilter(), "PRIMARY KEY|jobs_pkey"),
        (JobFilter(states=frozenset({State.QUEUED, State.FAILED})), "jobs_by_state|tasks_by_state"),
        (JobFilter(tenant="acme", queue=Queue.LIVE), "jobs_by_tenant"),
        (JobFilter(failures=frozenset({FailureClass.DISK})), "jobs_by_state|tasks_by_state"),
    ],
)
def test_lists_walk_an_index_that_fits_the_filter(farm: Any, explain: Any, only: JobFilter, index: str) -> None:
    mark, queries = ("?", SQLITE) if farm.kind == "sqlite" else ("$", POSTGRES)
    statement, values = page_statement(queries, mark, only)
    assert re.search(index, explain(statement, 10**9, 10, *values))


def test_events_and_cleaning_walk_an_index(farm: Any, explain: Any) -> None:
    if farm.kind == "sqlite":
        assert "PRIMARY KEY (rowid>?)" in explain(SQLITE["events"], 0, 10)
        assert "jobs_finished" in explain(SQLITE["delete_finished"], 0, 10)
        assert "SCAN" not in explain(SQLITE["delete_finished"], 0, 10)
    else:
        assert "transitions_pkey" in explain(POSTGRES["events"], "0", 0, 10)
        plan = explain(POSTGRES["delete_finished"], 0, 10)
        assert "tasks_finished" in plan
        _check_lookups(plan)


def test_a_look_for_messages_walks_their_indexes(farm: Any, explain: Any) -> None:
    """However many messages a log holds, what is due is found by the index of what waits."""
    if farm.kind == "sqlite":
        plans = {
            "lease_messages": explain(SQLITE["lease_messages"], "[]", 0, 4, 32, 0),
            "next_message_due": explain(SQLITE["next_message_due"]),
            "is_behind": explain(SQLITE["is_behind"]),
            "relay": explain(SQLITE["relay"], 0, 500, 0),
        }
        for name, plan in plans.items():
            scanned = {line.split()[1] for line in plan.splitlines() if line.startswith("SCAN")}
            assert scanned <= {"w", "webhooks", "webhook_relay", "CONSTANT", "json_each"}, (name, plan)
        assert "webhook_messages_due" in plans["lease_messages"]
        assert "webhook_messages_order" in plans["lease_messages"]
        assert "webhook_messages_due" in plans["next_message_due"]
        return
    plan = explain(POSTGRES["lease_messages"], [], 4, 32, 60_000)
    assert "webhook_messages_due" in plan
    assert "webhook_messages_order" in plan
    assert "webhook_messages_due" in explain(POSTGRES["next_message_due"])
    assert "transitions_pkey" in explain(POSTGRES["is_behind"])
    assert "transitions_pkey" in explain(POSTGRES["relay"], "0", 0, "9", 9)


_OFTEN = ("decidable", "first_tasks", "awaited_of", "batch_counts", "batch_page", "schedules", "due_schedules", "runs")
"""Some of it twice a second, also of a farm with a million jobs of which none waits."""


def test_what_is_asked_of_many_jobs_looks_up_each_by_its_key(explain_hot: Any) -> None:
    for name in _OFTEN:
        lines = explain_hot(POSTGRES[name]).splitlines()
        for number, line in enumerate(lines):
            if re.search(r"Scan.* on (jobs|tasks|progress)\b", line):
                assert "Index" in line, f"{name}: {line}"
                assert "Index Cond" in lines[number + 1], "\n".join([name, *lines])


def test_so_does_the_embedded_database(farm: Any, explain: Any) -> None:
    if farm.kind != "sqlite":
        return
    for name in _OFTEN:
        count = len(set(re.findall(r"\?\d", SQLITE[name])))
        for line in explain(SQLITE[name], *["[]"] * count).splitlines():
            assert not re.match(r"SCAN [ajptw]\b", line), (name, line)
