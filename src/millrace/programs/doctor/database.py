"""The database of a master, read without changing it."""

import asyncio
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from millrace.config.settings import MasterSettings
from millrace.programs.doctor.finding import Look, failed, skipped, warning
from millrace.programs.master import DATABASE
from millrace.store.migrate import load_migrations, missing, newest_of
from millrace.store.open import is_server
from millrace.store.store import SchemaTooNewError, StoreUnavailableError

OLDEST_POSTGRES = 130_000
SKEW_S = 2.0


def checks(settings: MasterSettings) -> Mapping[str, Look]:
    """Those of the kind of database that the settings name."""
    if is_server(settings.store):
        return _Postgres(settings).checks()
    path = Path(settings.store.removeprefix("sqlite:")) if settings.store else settings.data.absolute() / DATABASE
    return _Sqlite(path).checks()


class _Sqlite:
    def __init__(self, path: Path) -> None:
        self._path = path

    def checks(self) -> Mapping[str, Look]:
        return {
            "database.library": self._library,
            "database.schema": self._schema,
            "database.integrity": self._integrity,
            "database.references": self._references,
            "database.log": self._log,
        }

    async def _library(self) -> str:
        import apsw  # noqa: PLC0415  only where it is used

        from millrace.store.sqlite.connection import MINIMUM_SQLITE  # noqa: PLC0415

        text = f"SQLite {apsw.sqlite_lib_version()}"
        if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < MINIMUM_SQLITE:
            raise failed(text, f"{'.'.join(map(str, MINIMUM_SQLITE))} or newer is needed; upgrade apsw")
        return text

    def _ask(self, sql: str) -> list[Any]:
        if not self._path.is_file():
            raise skipped(f"{self._path} is made at the first start")
        from millrace.store.sqlite.connection import open_connection  # noqa: PLC0415  only where it is used

        connection = open_connection(self._path, readonly=True)
        try:
            return connection.execute(sql).fetchall()
        finally:
            connection.close()

    async def _schema(self) -> str:
        return _version(
            self._ask("SELECT json_group_object(version, name) FROM schema_migrations")[0][0], "millrace.store.sqlite"
        )

    async def _integrity(self) -> str:
        found = (await asyncio.to_thread(self._ask, "PRAGMA integrity_check(1)"))[0][0]
        if found != "ok":
            raise failed(f"{self._path}: {found}", "stop the master, and restore a backup into a new folder")
        return "no page is damaged"

    async def _references(self) -> str:
        found = self._ask("PRAGMA foreign_key_check")
        if found:
            raise failed(f"{len(found)} rows refer to what is gone", "restore a backup into a new folder")
        return "every row refers to what is there"

    async def _log(self) -> str:
        log = self._path.with_name(self._path.name + "-wal")
        size = log.stat().st_size if log.exists() else 0
        if size > 1 << 30:
            raise warning(
                f"{size / 1e6:,.0f} MB are not in the database yet", "something reads for very long; restart the master"
            )
        return f"{size / 1e6:.1f} MB are not in the database yet"


class _Postgres:
    def __init__(self, settings: MasterSettings) -> None:
        self._url = settings.store
        self._connections_wanted = settings.store_connections
        self._may_lose = settings.store_may_lose

    def checks(self) -> Mapping[str, Look]:
        return {
            "database.reachable": self._reachable,
            "database.version": self._version,
            "database.writable": self._writable,
            "database.durability": self._durability,
            "database.standby": self._standby,
            "database.schema": self._schema,
            "database.connections": self._connections,
            "database.clock": self._clock,
            "database.old-transactions": self._old_transactions,
        }

    async def _ask(self, sql: str, *values: object) -> Any:
        from millrace.store.postgres.connect import connect  # noqa: PLC0415  only where it is used
        from millrace.store.postgres.errors import STANDBYS  # noqa: PLC0415

        try:
            connection = await connect(self._url)
        except StoreUnavailableError as error:
            if error.why != STANDBYS:
                raise
            connection = await connect(self._url, standby=True)
        try:
            return await connection.fetchval(sql, *values)
        finally:
            await connection.close()

    async def _reachable(self) -> str:
        began = time.perf_counter()
        who = await self._ask("SELECT current_user || ' in ' || current_database()")
        return f"{who}, connected in {(time.perf_counter() - began) * 1000:.0f} ms"

    async def _version(self) -> str:
        number = int(await self._ask("SHOW server_version_num"))
        text = f"PostgreSQL {await self._ask('SHOW server_version')}"
        if number < OLDEST_POSTGRES:
            raise failed(text, "PostgreSQL 13 or newer is needed")
        return text

    async def _writable(self) -> str:
        if await self._ask("SELECT pg_is_in_recovery()"):
            raise failed("it is a standby", "name the primary, or all of them with commas between")
        return "it is a primary"

    async def _durability(self) -> str:
        names = ("fsync", "synchronous_commit", "full_page_writes")
        found = {name: await self._ask("SELECT current_setting($1)", name) for name in names}
        text = ", ".join(f"{name} {value}" for name, value in found.items())
        if found["synchronous_commit"] not in ("on", "remote_apply") or "off" in (
            found["fsync"],
            found["full_page_writes"],
        ):
            raise failed(text, "an accepted job would be lost with the power; set all of them to on")
        return text

    async def _standby(self) -> str:
        from millrace.store.postgres.connect import servers  # noqa: PLC0415  only where it is used

        names = await self._ask("SELECT current_setting('synchronous_standby_names')")
        count = int(await self._ask("SELECT count(*) FROM pg_stat_replication"))
        text = f"{count} follow, synchronous: {names or 'none'}"
        if names and not count:
            raise failed(text, "every commit waits for one; start it, or empty synchronous_standby_names")
        if count and not names and not self._may_lose:
            told = failed if len(servers(self._url)) > 1 else warning  # masters refuse what they would fail over to
            raise told(text, "if it is promoted, accepted jobs are lost; name it in synchronous_standby_names")
        return text

    async def _schema(self) -> str:
        if await self._ask("SELECT to_regclass('schema_migrations') IS NULL"):
            raise skipped("made at the first start")
        return _version(
            await self._ask("SELECT json_object_agg(version, name)::text FROM schema_migrations"),
            "millrace.store.postgres",
        )

    async def _connections(self) -> str:
        most = int(await self._ask("SHOW max_connections"))
        used = int(await self._ask("SELECT count(*) FROM pg_stat_activity"))
        text = f"{used} of {most} in use"
        if most - used < self._connections_wanted:
            remedy = (
                f"a master takes up to {self._connections_wanted}, and waits where it gets fewer; raise max_connections"
            )
            raise warning(text, remedy)
        return text

    async def _clock(self) -> str:
        before = time.time()
        there = float(await self._ask("SELECT extract(epoch FROM clock_timestamp())"))
        after = time.time()
        apart = max(before - there, there - after, 0.0)
        text = f"within {apart:.1f} s of this machine's" if apart else "as this machine's"
        if apart > SKEW_S:
            raise warning(text, "keep both right with NTP; leases go by the database's clock, logs by this one")
        return text

    async def _old_transactions(self) -> str:
        age = await self._ask(
            "SELECT coalesce(max(extract(epoch FROM clock_timestamp() - xact_start)), 0) FROM pg_stat_activity"
            " WHERE state <> 'idle' AND backend_type = 'client backend' AND pid <> pg_backend_pid()"
        )
        if float(age) > 600:
            raise warning(
                f"one is open for {float(age):,.0f} s",
                "it keeps dead rows alive and slows claims; find it in pg_stat_activity",
            )
        return "none is old"


def _version(found: str | None, package: str) -> str:
    applied, known = msgspec.json.decode(found or "{}", type=dict[int, str]), load_migrations(package)
    version, newest = max(applied, default=0), newest_of(known)
    try:
        todo = missing(applied, known)
    except SchemaTooNewError:
        raise failed(f"version {version}, and this Millrace knows {newest}", "upgrade Millrace") from None
    if any(not one.takes_away for one in todo):
        raise warning(f"version {version} of {newest}", "the next start of a master migrates it; make a backup before")
    if todo:
        raise warning(
            f"version {version}, with what older masters need", "once all are upgraded, start one of them anew"
        )
    if version > newest:
        raise warning(f"version {version}, and this Millrace knows {newest}", "it works on it; upgrade it soon")
    return f"version {version}"
