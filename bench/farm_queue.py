"""Submit and claim through the HTTP API, beside the raw-SQL floor and beside other queues, in one run.

The name is not `queue`, because that would hide the standard library's module from every script in this folder.
"""

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import fill, peers, servers, store_floor
from bench.measure import table
from bench.servers import Farm, load

CLIENTS = (1, 8, 50, 64)
MOST = max(CLIENTS)
SECONDS = 2.5
ROUNDS = 3
QUEUED_FOR_PAIRS = 80_000  # more than any machine takes in the windows of one round
QUEUED_APART = 20_000
FINISHED = 1_000_000
QUEUED = 100_000
ELSEWHERE = QUEUED // 5
LIMIT_S = 1500.0
"""After this long, what is left is skipped, and the report says so."""

Figures = dict[str, Any]
Open = Callable[[str], AbstractContextManager[Farm]]
"""Starts a fresh farm; the text names its folder."""


@dataclass(slots=True)
class Book:
    """What was measured, by (store, kind, clients); and what was not."""

    ends_s: float
    runs: dict[tuple[str, str, int], list[Figures]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    floors: dict[str, tuple[float, float]] = field(default_factory=dict)
    fill_s: dict[str, float] = field(default_factory=dict)

    def add(self, store: str, kind: str, clients: int, found: Figures) -> None:
        self.runs.setdefault((store, kind, clients), []).append(found)
        print(
            f"  {store:28} {kind:7} {clients:5} clients {found['rate']:8,.0f}/s"
            f"   other load {100 * found['other_load']:3.0f} %", flush=True,
        )  # fmt: skip

    def of(self, store: str, kind: str, clients: int, what: str) -> float | None:
        found = self.runs.get((store, kind, clients))
        return statistics.median(one[what] for one in found) if found else None

    def late(self, what: str) -> bool:
        """Whether there is no time left for this."""
        if time.monotonic() < self.ends_s:
            return False
        self.skipped.append(f"{what}: the {LIMIT_S:.0f} s of this section were used up")
        return True


def queue(folder: Path, runs: int) -> str:
    """The section `queue` of the benchmarks: a few text lines and tables in Markdown."""
    rounds = min(runs, ROUNDS)
    book = Book(time.monotonic() + LIMIT_S)
    with servers.postgres_server(folder / "postgres") as server:
        farms: dict[str, Open] = {
            "SQLite": lambda name: servers.sqlite_farm(folder / name),
            "PostgreSQL": lambda name: _fresh(folder / name, server, 1),
            "PostgreSQL, 2 masters": lambda name: _fresh(folder / name, server, 2),
        }
        for turn in range(rounds):
            for store, open_farm in farms.items():
                if not book.late(f"{store}, round {turn + 1}"):
                    _rates(book, store, open_farm(f"{store}-{turn}"), CLIENTS if "2" not in store else (MOST,))
            _floors(book, folder / f"floor-{turn}", server[0])
        _with_history(book, folder, server, rounds)
        for store in ("SQLite", "PostgreSQL"):
            if not book.late(f"waiting and beating, {store}"):
                _waiting(book, store, folder / f"idle-{store}", server)
        others = _others(book, folder, server)
    return _report(book, others, rounds)


@contextmanager
def _fresh(folder: Path, server: tuple[str, int], masters: int) -> Iterator[Farm]:
    with servers.database(server[0]) as own, servers.postgres_masters(folder, server, own, masters) as farm:
        yield farm


def _rates(book: Book, store: str, opened: AbstractContextManager[Farm], clients: Sequence[int]) -> None:
    with opened as farm:
        for count in clients:
            book.add(store, "submit", count, load(farm, "submit", clients=count, seconds=SECONDS))
        fill.queue(farm, QUEUED_FOR_PAIRS, fill.accepted(farm))
        for count in clients:
            book.add(store, "pairs", count, load(farm, "pairs", clients=count, seconds=SECONDS))
        fill.queue(farm, QUEUED_APART, fill.accepted(farm))
        book.add(store, "apart", MOST, load(farm, "apart", clients=MOST, seconds=SECONDS))


def _floors(book: Book, folder: Path, server: str) -> None:
    folder.mkdir()
    found = {"SQLite": store_floor.sqlite_floor(folder, SECONDS)}
    with servers.database(server) as own:
        found["PostgreSQL"] = asyncio.run(store_floor.postgres_floor(own, SECONDS))
    for store, rates in found.items():
        best = book.floors.get(store, (0.0, 0.0))
        book.floors[store] = (max(best[0], rates[0]), max(best[1], rates[1]))


def _with_history(book: Book, folder: Path, server: tuple[str, int], rounds: int) -> None:
    """Few rounds, because the table is filled once; other machines' jobs stand at the head of the queue."""
    if not book.late("SQLite with a million rows"):
        with servers.sqlite_farm(folder / "history") as farm:
            _fill_history(book, "SQLite", farm)
            _history_rates(book, "SQLite", farm, rounds)
    if book.late("PostgreSQL with a million rows"):
        return
    with servers.database(server[0]) as own:
        for masters in (1, 2):
            name = "PostgreSQL" if masters == 1 else "PostgreSQL, 2 masters"
            with servers.postgres_masters(folder / f"history-{masters}", server, own, masters) as farm:
                if masters == 1:
                    _fill_history(book, name, farm)
                _history_rates(book, name, farm, rounds)


def _fill_history(book: Book, store: str, farm: Farm) -> None:
    began = time.perf_counter()
    elsewhere, ours = fill.accepted(farm, **fill.ELSEWHERE), fill.accepted(farm)
    fill.finish(farm, FINISHED, ours)
    fill.queue(farm, ELSEWHERE, elsewhere)
    fill.queue(farm, QUEUED - ELSEWHERE, ours)
    book.fill_s[store] = time.perf_counter() - began


def _history_rates(book: Book, store: str, farm: Farm, rounds: int) -> None:
    for _ in range(rounds):
        for kind in ("submit", "pairs"):
            found = load(farm, kind, clients=MOST, seconds=SECONDS, warm_s=1.0)
            book.add(f"{store}, million", kind, MOST, found)


def _waiting(book: Book, store: str, folder: Path, server: tuple[str, int]) -> None:
    """An idle worker that is given a job; long polls in which nothing happens; nodes that beat."""
    # Parked workers of the bench do not beat, so their leases are long here.
    settings = {"MILLRACE_LEASE_TTL": "3600"}

    def opened(name: str) -> AbstractContextManager[Farm]:
        if store == "SQLite":
            return servers.sqlite_farm(folder / name, **settings)
        return _fresh_with(folder / name, server, settings)

    with opened("pickup") as farm:
        book.add(store, "pickup", 1, load(farm, "pickup", clients=1, seconds=12.0))
    for count in (1000, 5000):
        with opened(f"parked-{count}") as farm:
            # Longer than a keep-alive or a duty's turn; the first seconds still see the last registrations.
            book.add(store, "parked", count, load(farm, "parked", clients=count, seconds=10.0, warm_s=3.0))
    with opened("beats") as farm:
        fill.queue(farm, 1000, fill.accepted(farm))
        book.add(store, "beats", 1000, load(farm, "beats", clients=1000, seconds=9.0, warm_s=3.0, every_s=3.0))


@contextmanager
def _fresh_with(folder: Path, server: tuple[str, int], settings: dict[str, str]) -> Iterator[Farm]:
    with servers.database(server[0]) as own, servers.postgres_masters(folder, server, own, 1, **settings) as farm:
        yield farm


def _others(book: Book, folder: Path, server: tuple[str, int]) -> dict[str, Figures]:
    found: dict[str, Figures] = {}
    for name, run in (
        ("Procrastinate", lambda: peers.procrastinate(server, SECONDS, 600)),
        ("Celery+Redis", lambda: peers.celery(folder / "redis", SECONDS, 2000)),
    ):
        if book.late(name):
            continue
        figures = run()
        if isinstance(figures, str):
            book.skipped.append(f"{name}: {figures}")
            print(f"  SKIPPED {name}: {figures}", flush=True)
        else:
            found[name] = figures
    return found


# The report ------------------------------------------------------------------------------------------------------------


def _report(book: Book, others: dict[str, Figures], rounds: int) -> str:
    loads = [one["other_load"] for found in book.runs.values() for one in found]
    parts = [
        "### Submit and claim\n",
        (
            f"{_rounds(rounds)} of {SECONDS} s through the HTTP API with keys on; client, masters and database share "
            "the machine, and CPU is that of all their processes. SQLite with synchronous=FULL, PostgreSQL with fsync and "
            "synchronous_commit on. A pair is one task claimed and completed by a worker whose engine takes no time: one "
            "request, because the report of a task claims the next, as the real worker's does. Where it says `in two "
            "requests`, claim and report come apart, as when a worker that has waited gets a task. "
            f"Other programs kept the cores {100 * statistics.median(loads):.0f} % busy meanwhile "
            f"({100 * min(loads):.0f} to {100 * max(loads):.0f} %): where that is more than a few percent, the rates are lower "
            "bounds, and CPU for each operation and the ratios are what counts.\n"
        ),
        _rate_table(book),
        "",
        (
            f"With {FINISHED:,} finished and {QUEUED:,} queued jobs, a fifth of them, at the head, for other machines "
            f"({MOST} clients; filling took {', '.join(f'{store} {took:.0f} s' for store, took in book.fill_s.items())}):\n"
        ),
        _history_table(book),
        "",
        (
            "Beside the raw-SQL floor (64 rows to a commit, no HTTP, no history of attempts) and other queues driven directly, "
            "the best of their settings; Redis syncs its log once a second, which is less durable than the others:\n"
        ),
        _peer_table(book, others),
        "",
        _waiting_table(book),
        "",
        _goal_table(book, others),
    ]
    if book.skipped:
        parts += ["", "**Skipped:**", *(f"- {line}" for line in book.skipped)]
    return "\n".join(parts) + "\n"


def _rounds(rounds: int) -> str:
    return "A single round, so no spread is known," if rounds == 1 else f"Medians of {rounds} rounds"


def _number(value: float | None, form: str = ",.0f") -> str:
    return "not measured" if value is None else format(value, form)


def _each_us(book: Book, store: str, kind: str, clients: int) -> str:
    """CPU microseconds for each operation: masters, database, load client."""
    found = book.runs.get((store, kind, clients))
    if not found:
        return ""
    each = [
        statistics.median(1e6 * one[who] / max(1, one["done"]) for one in found)
        for who in ("master_cpu_s", "database_cpu_s", "client_cpu_s")
    ]
    return " / ".join(f"{value:.0f}" for value in each)


def _row(book: Book, store: str, kind: str, clients: int) -> list[str]:
    return [
        store,
        _KINDS[kind],
        str(clients),
        _number(book.of(store, kind, clients, "rate")),
        _number(book.of(store, kind, clients, "p50_ms"), ".1f"),
        _number(book.of(store, kind, clients, "p99_ms"), ".1f"),
        _each_us(book, store, kind, clients),
        f"{100 * (book.of(store, kind, clients, 'other_load') or 0):.0f} %",
    ]


_KINDS = {"submit": "accepted", "pairs": "claim+complete", "apart": "claim+complete, in two requests"}
_HEAD = ("store", "what", "clients", "/s", "p50 ms", "p99 ms", "CPU µs each: master / database / client", "other load")


def _rate_table(book: Book) -> str:
    keys = [key for key in book.runs if key[1] in _KINDS and "million" not in key[0]]
    return table(_HEAD, [_row(book, *key) for key in keys])


def _history_table(book: Book) -> str:
    rows = []
    for store, kind, clients in [key for key in book.runs if "million" in key[0]]:
        without = book.of(store.removesuffix(", million"), kind, clients, "rate")
        now = book.of(store, kind, clients, "rate")
        share = f"{now / without:.0%}" if now and without else ""
        rows.append([*_row(book, store, kind, clients), share])
    return table((*_HEAD, "of the rate without"), rows)


def _best(figures: object) -> float:
    return max(figures.values()) if isinstance(figures, dict) else float(figures)  # type: ignore[arg-type]


def _peer_table(book: Book, others: dict[str, Figures]) -> str:
    names = ("SQLite", "PostgreSQL")
    rows = [[f"Millrace, {name}", _number(book.of(name, "submit", MOST, "rate")), _number(book.of(name, "pairs", MOST, "rate"))] for name in names]  # fmt: skip
    rows += [[f"raw SQL, {name}", *(_number(rate) for rate in rates)] for name, rates in book.floors.items()]
    rows += [[name, _number(_best(found["insert"])), _number(_best(found["drain"]))] for name, found in others.items()]
    return table(("what", "accepted/s", "finished/s"), rows)


def _waiting_table(book: Book) -> str:
    rows = []
    for store, kind, clients in [key for key in book.runs if key[1] in ("pickup", "parked", "beats")]:
        one = book.runs[store, kind, clients][0]
        cpu = f"{one['master_cpu_s'] / one['seconds']:.1%} of a core"
        memory = f"{one['rss_before_mb'][0]:.0f} to {one['rss_mb'][0]:.0f} MB"
        what = {"pickup": "submit to pick-up, idle worker", "parked": "parked long polls", "beats": "nodes that beat every 3 s"}[kind]  # fmt: skip
        times = "" if kind == "parked" else f"{one['p50_ms']:.1f} / {one['p99_ms']:.1f}"
        rows.append([store, f"{clients:,} {what}", times, cpu, memory, f"{100 * one['other_load']:.0f} %"])
    return table(
        ("store", "what", "p50 / p99 ms", "master's CPU", "master's memory, before and with", "other load"), rows
    )


_QUIET = 0.15
"""Share of the cores that other programs may take before a window says nothing against a goal (queues.md, section 1)."""

Key = tuple[str, str, int]


def _goal_table(book: Book, others: dict[str, Figures]) -> str:
    rows: list[list[str]] = []

    def goal(what: str, found: float | None, wanted: float, form: str, *keys: Key, most: bool = False) -> None:
        bound = f"at {'most' if most else 'least'} {wanted:,}"
        load = max((book.of(*key, "other_load") or 0.0 for key in keys), default=0.0)
        verdict = "" if found is None else "met" if (found <= wanted if most else found >= wanted) else "missed"
        # Load by others only ever makes one window slower, so a goal met under load is met. A miss may be the load's, and a
        # ratio of two windows may be either way.
        if verdict and load > _QUIET and (verdict == "missed" or len(keys) > 1 or "times" in what):
            verdict = f"undecided: other load {load:.0%}"
        rows.append([what, bound, _number(found, form), verdict])

    def rate(key: Key) -> float | None:
        return book.of(*key, "rate")

    def times(key: Key, name: str, figure: str) -> float | None:
        ours = rate(key)
        return ours / _best(others[name][figure]) if name in others and ours else None

    accepted = ("SQLite", "submit", MOST)
    goal("accepted/s, SQLite", rate(accepted), 5000, ",.0f", accepted)
    goal("accepted, times Procrastinate's insert", times(accepted, "Procrastinate", "insert"), 4, ".1f", accepted)
    for store, least in (("SQLite", 4000), ("PostgreSQL", 3000), ("PostgreSQL, 2 masters", 3500)):
        pairs, million = (store, "pairs", MOST), (f"{store}, million", "pairs", MOST)
        goal(f"claim+complete/s, {store}", rate(pairs), least, ",.0f", pairs)
        without, with_rows = rate(pairs), rate(million)
        kept = 100 * with_rows / without if with_rows and without else None
        goal(f"% kept with a million rows, {store}", kept, 80, ".0f", pairs, million)
    pairs = ("PostgreSQL", "pairs", MOST)
    goal("PostgreSQL, times Procrastinate", times(pairs, "Procrastinate", "drain"), 6, ".1f", pairs)
    goal("PostgreSQL, times Celery+Redis", times(pairs, "Celery+Redis", "drain"), 5, ".1f", pairs)
    for store in ("SQLite", "PostgreSQL"):
        for what, milliseconds in (("p50_ms", 5), ("p99_ms", 15)):
            key = (store, "pickup", 1)
            goal(f"pick-up {what[:3]} ms, {store}", book.of(*key, what), milliseconds, ".1f", key, most=True)
        for clients, megabytes in ((1000, 100), (5000, 300)):
            key = (store, "parked", clients)
            found = book.runs.get(key)
            memory = found[0]["rss_mb"][0] if found else None
            goal(f"MB with {clients:,} parked, {store}", memory, megabytes, ".0f", most=True)
            goal(f"% of a core with {clients:,} parked, {store}", _core(book, key), 3, ".1f", key, most=True)
        key = (store, "beats", 1000)
        goal(f"% of a core, 1,000 nodes beating, {store}", _core(book, key), 25, ".1f", key, most=True)
    return table(("goal", "wanted", "found", "verdict"), rows)


def _core(book: Book, key: Key) -> float | None:
    """The masters' CPU as a percentage of one core."""
    used, seconds = book.of(*key, "master_cpu_s"), book.of(*key, "seconds")
    return 100 * used / seconds if used is not None and seconds else None
