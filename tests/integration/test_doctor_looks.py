"""What the doctor finds: on this machine, in folders and databases that are wrong in one way each, and on a farm."""

import asyncio
import os
import socket
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import pytest
from api_serving import KEY, listening

from millrace.client.client import Client
from millrace.client.http import Terms
from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.domain.records import NodeState
from millrace.programs.doctor import database, engine, machine, master
from millrace.programs.doctor.engine import Engine
from millrace.programs.doctor.farm import FarmLook
from millrace.programs.doctor.finding import Finding, Look, Verdict, examine
from millrace.programs.doctor.master import MasterLook
from millrace.programs.doctor.places import Places
from millrace.store.open import open_store

CERTIFICATES = Path(__file__).parent / "certificates"


def found(checks: Mapping[str, Look], *names: str) -> dict[str, Finding]:
    wanted = {name: look for name, look in checks.items() if not names or name in names}
    return {one.check: one for one in asyncio.run(examine(wanted, lambda _: None))}


def one(checks: Mapping[str, Look], name: str) -> Finding:
    return found(checks, name)[name]


def test_nothing_that_the_tests_run_on_is_broken(tmp_path: Path) -> None:
    worker = WorkerSettings(state=tmp_path / "state", media_roots=(tmp_path,))
    everything = found(machine.checks()) | found(Engine(worker).checks()) | found(Places(worker).checks())
    assert [finding for finding in everything.values() if finding.verdict is Verdict.FAILED] == []
    assert everything["engine.encoder.h264"].found == "libx264"
    assert everything["worker.outputs"].verdict is Verdict.OK
    assert list(tmp_path.iterdir()) == []


def test_an_engine_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "ffmpeg"
    path.write_text("#!/bin/sh\necho I am a teapot\n")
    path.chmod(0o755)
    checks = Engine(WorkerSettings(ffmpeg=path, sandbox="off")).checks()
    assert one(checks, "engine.program").verdict is Verdict.FAILED
    assert one(checks, "engine.version").verdict is Verdict.WARNING
    assert one(checks, "engine.sandbox").verdict is Verdict.WARNING
    path.write_text('#!/bin/sh\n[ "$2" = -version ] && echo ffmpeg version 4.4.1 Copyright\nexit 1\n')
    checks = Engine(WorkerSettings(ffmpeg=path, sandbox="off")).checks()
    assert one(checks, "engine.version").remedy == "use FFmpeg 5.1 or newer"
    h264, av1 = one(checks, "engine.encoder.h264"), one(checks, "engine.encoder.av1")
    assert (h264.verdict, av1.verdict) == (Verdict.FAILED, Verdict.WARNING)
    gone = one(Engine(WorkerSettings(ffmpeg=tmp_path / "nowhere")).checks(), "engine.program")
    assert "there is no such program" in gone.found


def test_an_ffmpeg_without_what_is_needed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "FILTERS", ("scale", "teleport"))
    assert one(Engine(WorkerSettings()).checks(), "engine.filters").found == "missing: teleport"


def test_places_of_a_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checks = Places(WorkerSettings(state=tmp_path, media_roots=(tmp_path / "gone",), min_free_mb=10**12)).checks()
    assert one(checks, "worker.media-roots").found == f"{tmp_path / 'gone'}: no such folder"
    assert one(checks, "worker.scratch").verdict is Verdict.FAILED
    assert one(Places(WorkerSettings()).checks(), "worker.media-roots").verdict is Verdict.SKIPPED


def settings(data: Path, **more: Any) -> MasterSettings:
    data.mkdir(mode=0o700, exist_ok=True)
    return MasterSettings(data=data, **{"port": 0, **more})


def test_a_master_that_could_start_has_nothing_wrong(tmp_path: Path) -> None:
    pem = CERTIFICATES / "localhost.pem"
    all_found = found(MasterLook(settings(tmp_path / "d", tls_certificate=pem, tls_key=pem, host="0.0.0.0")).checks())
    wrong = [one for one in all_found.values() if one.verdict in (Verdict.FAILED, Verdict.WARNING)]
    assert [one for one in wrong if one.check not in ("master.space", "master.sync")] == []
    assert all_found["files.round-trip"].verdict is Verdict.OK
    assert [path for path in (tmp_path / "d").rglob("*") if path.is_file()] == []


def test_what_is_wrong_with_a_master_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, pem = tmp_path / "d", CERTIFICATES / "localhost.pem"

    def told(name: str, **more: Any) -> tuple[Verdict, str]:
        it = one(MasterLook(settings(data, **more)).checks(), name)
        return it.verdict, it.found

    data.mkdir(mode=0o700)
    (data / "api-key").write_text("mr_0123456789\n")
    (data / "api-key").chmod(0o644)
    assert told("master.key") == (Verdict.FAILED, f"{data / 'api-key'} is open to others")
    assert told("master.address", host="0.0.0.0") == (Verdict.OK, "0.0.0.0, with TLS of the farm's own authority")
    assert told("master.address", host="0.0.0.0", plain_http=True)[0] is Verdict.WARNING
    assert told("master.certificate", tls_certificate=pem)[0] is Verdict.FAILED
    assert told("master.certificate", tls_certificate=pem, tls_key=CERTIFICATES / "elsewhere.pem")[0] is Verdict.FAILED
    ended = {"tls_certificate": CERTIFICATES / "ended.pem", "tls_key": CERTIFICATES / "ended.pem"}
    verdict, words = told("master.certificate-end", **ended)
    assert (verdict, words[:11]) == (Verdict.FAILED, "it ended on")
    monkeypatch.setattr(master, "SOON_S", 1e12)
    assert told("master.certificate-end", tls_certificate=pem, tls_key=pem)[0] is Verdict.WARNING
    assert told("master.leases", lease_ttl_s=5.0, heartbeat_s=4.0)[0] is Verdict.FAILED
    monkeypatch.setattr(master, "_kind_of", lambda _: 0x6969)
    assert told("master.file-system") == (Verdict.FAILED, "the data folder lies on NFS")
    assert told("master.file-system", store="postgresql://h/d")[0] is Verdict.SKIPPED
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        assert told("master.port", port=taken.getsockname()[1])[0] is Verdict.SKIPPED
    data.chmod(0o755)
    assert told("master.data-folder")[0] is Verdict.WARNING
    assert told("files.round-trip", blobs="s3://none.invalid/x?endpoint=http://127.0.0.1:1")[0] is Verdict.FAILED


def test_an_embedded_database_is_read_and_not_changed(tmp_path: Path) -> None:
    given = settings(tmp_path / "d")
    path = given.data / "millrace.db"
    assert one(database.checks(given), "database.integrity").verdict is Verdict.SKIPPED

    async def start() -> None:
        store = open_store(path)
        await store.start()
        assert {one.verdict for one in await examine(database.checks(given), lambda _: None)} == {Verdict.OK}
        await store.stop()

    asyncio.run(start())
    before = path.read_bytes()
    assert {one.verdict for one in found(database.checks(given)).values()} == {Verdict.OK}
    assert path.read_bytes() == before
    with closing(apsw.Connection(str(path))) as connection:
        connection.execute("INSERT INTO job_specs (job, spec) VALUES (7, '{}')")
        connection.execute("INSERT INTO schema_migrations VALUES (98, 'future', 0)")
        assert one(database.checks(given), "database.schema").remedy == "it works on it; upgrade it soon"
        connection.execute("INSERT INTO schema_migrations VALUES (99, 'post_future', 0)")
    assert one(database.checks(given), "database.references").found == "1 rows refer to what is gone"
    assert one(database.checks(given), "database.schema").remedy == "upgrade Millrace"
    with path.open("r+b") as file:
        file.seek(4096 * 3)
        file.write(b"\xff" * 4096)
    assert one(database.checks(given), "database.integrity").verdict is Verdict.FAILED


def test_postgresql_is_asked_what_a_master_relies_on(new_database: Callable[[], str], tmp_path: Path) -> None:
    url = new_database()
    given = settings(tmp_path / "d", store=url)
    fresh = found(database.checks(given))
    # The server of these tests goes without fsync, for speed: the doctor would not let a farm do so.
    wrong = {one.check: one.found for one in fresh.values() if one.verdict in (Verdict.FAILED, Verdict.WARNING)}
    assert wrong == {"database.durability": "fsync off, synchronous_commit on, full_page_writes on"}
    assert fresh["database.schema"].verdict is Verdict.SKIPPED

    async def spoil() -> None:
        store = open_store(url)
        await store.start()
        await store.stop()
        connection = await asyncpg.connect(url)
        await connection.execute("DELETE FROM schema_migrations WHERE version > 1")
        await connection.close()

    asyncio.run(spoil())
    assert one(database.checks(given), "database.schema").verdict is Verdict.WARNING
    away = settings(tmp_path / "d", store="postgresql://nobody@127.0.0.1:1/none")
    assert one(database.checks(away), "database.reachable").verdict is Verdict.FAILED


@pytest.mark.parametrize(
    ("answers", "check", "verdict"),
    [
        ({"current_setting('fsync')": "off"}, "database.durability", Verdict.FAILED),
        ({"current_setting('full_page_writes')": "off"}, "database.durability", Verdict.FAILED),
        ({"current_setting('synchronous_commit')": "remote_write"}, "database.durability", Verdict.FAILED),
        ({"server_version_num": "120022"}, "database.version", Verdict.FAILED),
        ({"pg_is_in_recovery()": True}, "database.writable", Verdict.FAILED),
        ({"max_connections": "20", "count(*)": 15}, "database.connections", Verdict.WARNING),
        ({"clock_timestamp())": 1.0}, "database.clock", Verdict.WARNING),
        ({"xact_start": 4000.0}, "database.old-transactions", Verdict.WARNING),
        ({"synchronous_standby_names": "", "pg_stat_replication": 1}, "database.standby", Verdict.WARNING),
        ({"synchronous_standby_names": "b", "pg_stat_replication": 0}, "database.standby", Verdict.FAILED),
        ({"synchronous_standby_names": "b", "pg_stat_replication": 1}, "database.standby", Verdict.OK),
    ],
)
def test_a_postgresql_that_would_lose_or_delay_jobs_is_told(
    answers: Mapping[str, object], check: str, verdict: Verdict, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def ask(_: object, sql: str) -> object:
        return next((answer for words, answer in answers.items() if words in sql), "on")

    monkeypatch.setattr(database._Postgres, "_ask", ask)
    assert one(database.checks(settings(tmp_path / "d", store="postgresql://h/d")), check).verdict is verdict
    if check == "database.standby" and verdict is Verdict.WARNING:  # and with several servers a master would not start
        several = settings(tmp_path / "d", store="postgresql://h,i/d")
        assert one(database.checks(several), check).verdict is Verdict.FAILED


def test_a_farm_that_runs_is_asked(tmp_path: Path) -> None:
    async def work() -> dict[str, Finding]:
        async with listening(tmp_path) as rig:
            await rig.submit()
            await rig.register("same")
            await rig.post(
                "/v1/nodes", {"fingerprint": "another-print", "boot_id": "boot-0001", "name": "same", "slots": 1}
            )
            lost = await rig.register("lost")
            await rig.farm.store.set_node_state(lost.id, NodeState.LOST, sources=frozenset(NodeState))
            with Client([str(rig.client.base_url)], Terms(key=KEY)) as client:
                known = await examine(FarmLook(client).checks(), lambda _: None)
            with Client([str(rig.client.base_url)], Terms(key="a-wrong-key")) as stranger:
                refused = await examine(FarmLook(stranger).checks(), lambda _: None)
            assert {one.check: one.verdict for one in refused}["farm.key"] is Verdict.FAILED
            return {one.check: one for one in known}

    told = asyncio.run(work())
    verdicts = {name.removeprefix("farm."): one.verdict.value for name, one in told.items()}
    assert verdicts == {
        "master": "ok", "version": "ok", "ready": "ok", "key": "ok", "nodes": "ok", "lost-nodes": "warning",
        "draining-nodes": "ok", "names": "warning", "waiting-jobs": "ok", "failures": "ok", "outputs": "ok",
    }  # fmt: skip
    assert told["farm.lost-nodes"].found == "lost"
    assert told["farm.waiting-jobs"].found == "1"


def test_an_output_that_changed_on_the_disk_is_told(tmp_path: Path) -> None:
    async def work() -> list[Finding]:
        found = []
        async with listening(tmp_path) as rig:
            await rig.submit()
            node = await rig.register()
            (task,) = await node.claim()
            path = f"/v1/tasks/{task['task']}/outputs/film.mp4?node={node.id}&attempt=1"
            kept = (await rig.call("PUT", path, content=b"a film")).json()
            report = {"name": "film.mp4", "location": kept["url"], "sha256": kept["sha256"], "size": kept["size"]}
            await node.report("complete", task, outputs=[report])
            (file,) = (Path(name, "film.mp4") for name, _, names in os.walk(tmp_path) if "film.mp4" in names)
            with Client([str(rig.client.base_url)], Terms(key=KEY)) as client:
                look = {"farm.outputs": FarmLook(client).checks()["farm.outputs"]}
                for change in (lambda: None, lambda: file.write_bytes(b"a filn"), file.unlink):
                    change()
                    found += await examine(look, lambda _: None)
        return found

    well, changed, gone = asyncio.run(work())
    assert (well.verdict, well.found) == (Verdict.OK, "1 that a master keeps, 0 MB, are what was recorded")
    for one in (changed, gone):
        assert (one.verdict, one.found) == (Verdict.FAILED, "film.mp4 of job 1: not what was recorded")


def test_without_a_master_the_farm_is_not_looked_at() -> None:
    with Client(["http://127.0.0.1:1"], Terms(key=KEY)) as client:
        assert {one.verdict for one in found(FarmLook(client).checks()).values()} == {Verdict.SKIPPED}
