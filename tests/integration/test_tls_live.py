"""Certificates that change while a master serves, and the authority that the masters of a farm share."""

import asyncio
import shutil
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx2
import pytest

from millrace.config.errors import SettingError
from millrace.config.settings import MasterSettings
from millrace.edge import certificates
from millrace.edge.certificates import LASTS, Pair
from millrace.programs.http.own_tls import FOLDER, Authority, OwnTls, open_authority
from millrace.programs.http.tls import LiveTls, Tls
from millrace.programs.master import MasterProgram
from millrace.store.open import open_store

NOW = datetime.now(UTC)
NAMES = ["localhost", "127.0.0.1"]


def put(path: Path, pair: Pair) -> None:
    """As whoever renews certificates does: the new one takes the name of the old."""
    part = path.with_suffix(".part")
    part.write_bytes(pair.key + pair.certificate)
    part.replace(path)


@asynccontextmanager
async def serving(folder: Path, **more: Any) -> AsyncIterator[tuple[MasterProgram, LiveTls]]:
    program = MasterProgram(MasterSettings(data=folder / "farm", port=0, api_key="test-key-1", **more))
    async with program:
        assert program.shows is not None
        yield program, program.shows


async def shown(program: MasterProgram) -> bytes:
    port = int(program.url.rpartition(":")[2])
    pem = await asyncio.to_thread(ssl.get_server_certificate, ("127.0.0.1", port))
    return ssl.PEM_cert_to_DER_cert(pem)


def der(pair: Pair) -> bytes:
    return ssl.PEM_cert_to_DER_cert(pair.certificate.decode().partition("-----END")[0] + "-----END CERTIFICATE-----")


def test_a_changed_certificate_is_shown_without_a_restart_and_a_broken_one_is_not(tmp_path: Path) -> None:
    farm = certificates.new_authority(NOW)
    first, second = (certificates.server_pair(farm, NAMES, NOW) for _ in range(2))
    place = tmp_path / "farm.pem"
    put(place, first)
    trusting = ssl.create_default_context(cadata=farm.certificate.decode())

    async def main() -> None:
        async with (
            serving(tmp_path, tls_certificate=place, tls_key=place) as (program, tls),
            httpx2.AsyncClient(base_url=program.url, verify=trusting, headers={"x-api-key": "test-key-1"}, timeout=60) as client,
        ):  # fmt: skip
            node = (await client.post("/v1/nodes", json={"fingerprint": "print-one", "boot_id": "boot-0001", "name": "a", "slots": 1})).json()  # fmt: skip
            claim = {"epoch": node["epoch"], "request": "request-1", "limit": 1, "wait_s": 60}
            parked = asyncio.create_task(client.post(f"/v1/nodes/{node['node']}/claim", json=claim))
            while "claims 1" not in (await client.get("/metrics")).text:
                await asyncio.sleep(0)
            assert await shown(program) == der(first)

            put(place, second)
            assert await shown(program) == der(first)  # looked at a moment ago
            tls._looked_s = 0.0
            assert await shown(program) == der(second)

            for broken in (Pair(first.certificate, second.key), Pair(b"", second.key), Pair(b"nonsense", b"")):
                put(place, broken)
                tls._looked_s = 0.0
                assert await shown(program) == der(second)
            place.unlink()
            tls._looked_s = 0.0
            assert await shown(program) == der(second)
            metrics = (await client.get("/metrics")).text
            assert "\nmillrace_tls_certificate_failures_total 4\n" in metrics
            ends = int(certificates.facts_of(second.certificate).ends.timestamp())
            assert f"\nmillrace_tls_certificate_expiry_time_seconds {ends}\n" in metrics

            put(place, first)
            tls._looked_s = 0.0
            assert await shown(program) == der(first)
            # Nobody was disturbed: the claim waits as before, and is given the next job.
            assert not parked.done()
            parked.cancel()

    asyncio.run(main())


def test_what_a_master_shows_of_its_own_is_renewed_in_time(tmp_path: Path) -> None:
    files, now = OwnTls(tmp_path), [NOW]
    made = certificates.new_authority(NOW)
    (tmp_path / "ca.pem").write_bytes(made.certificate)
    (tmp_path / "ca.key").write_bytes(made.key)
    authority = Authority(files, lambda: now[0])
    authority.keep_certificate(NAMES)
    first = files.shown.read_bytes()
    live = LiveTls(Tls(certificate=files.shown, key=files.shown))
    assert oct(files.shown.stat().st_mode & 0o777) == "0o600"

    def after(days: float, names: list[str]) -> bytes:
        now[0] = NOW + timedelta(days=days)
        authority.keep_certificate(names)
        return files.shown.read_bytes()

    assert after(59, NAMES) == first
    assert after(59, ["localhost"]) == first
    assert after(60.1, NAMES) != first  # a third of its life is left
    live._looked_s = 0.0
    live.context()
    assert abs(live.ends - (now[0] + LASTS)) < timedelta(seconds=2)
    second = files.shown.read_bytes()
    assert after(60.2, [*NAMES, "farm.example.org"]) != second  # it is called by another name
    # Another authority: what the one before signed is of no use.
    other = certificates.new_authority(NOW)
    (tmp_path / "ca.pem").write_bytes(other.certificate)
    (tmp_path / "ca.key").write_bytes(other.key)
    third = files.shown.read_bytes()
    Authority(files, lambda: now[0]).keep_certificate(NAMES)
    assert files.shown.read_bytes() != third
    # An authority that has ended, or that is none, is told.
    with pytest.raises(SettingError, match=r"it ended on .* --new-ca"):
        Authority(files, lambda: NOW + certificates.AUTHORITY_LASTS + timedelta(days=1))
    (tmp_path / "ca.key").write_bytes(made.key)
    with pytest.raises(SettingError, match="copy both from a master that has them"):
        Authority(files, lambda: NOW)


def test_all_masters_of_a_farm_have_one_authority(tmp_path: Path) -> None:
    one, two = OwnTls(tmp_path / "one"), OwnTls(tmp_path / "two")

    async def main() -> None:
        store = open_store(tmp_path / "farm.db")
        await store.start()

        async def opened(files: OwnTls, *, new: bool = False) -> str:
            return (await open_authority(files, store, lambda: NOW, new=new, vouches=True)).fingerprint

        try:
            first = await opened(one)
            assert await opened(one) == first
            assert oct((one.folder / "ca.key").stat().st_mode & 0o777) == "0o600"
            assert oct(one.folder.stat().st_mode & 0o777) == "0o700"
            # A second one makes none of its own, which no worker would know.
            with pytest.raises(SettingError, match=r"has an authority already.* copy ca\.pem and ca\.key there"):
                await opened(two)
            assert not two.has_authority()
            shutil.copytree(one.folder, two.folder, dirs_exist_ok=True)
            assert await opened(two) == first
            # Where it is lost or known to others, a new one takes its place, and the old one opens nothing more.
            second = await opened(one, new=True)
            assert second != first
            with pytest.raises(SettingError, match=f"is not that of the farm .*{second}"):
                await opened(two)
        finally:
            await store.stop()

    asyncio.run(main())


def refused(folder: Path, **settings: Any) -> str:
    async def main() -> None:
        async with MasterProgram(MasterSettings(data=folder / "farm", port=0, **settings)):
            raise AssertionError("it started")

    with pytest.raises(SettingError) as error:
        asyncio.run(main())
    return str(error.value)


def test_who_asks_workers_for_certificates_must_be_able_to_sign_them(tmp_path: Path) -> None:
    assert "that takes TLS" in refused(tmp_path, worker_auth="mtls")
    place = tmp_path / "farm.pem"
    put(place, certificates.server_pair(certificates.new_authority(NOW), NAMES, NOW))
    given = {"tls_certificate": place, "tls_key": place, "worker_auth": "mtls"}
    assert "start once with --new-ca" in refused(tmp_path, **given)

    async def main(make: Callable[[], MasterProgram]) -> None:
        async with make() as program:
            assert program.ca is None

    def program(*, new: bool) -> MasterProgram:
        return MasterProgram(MasterSettings(data=tmp_path / "farm", port=0, **given), new_ca=new)

    asyncio.run(main(lambda: program(new=True)))
    asyncio.run(main(lambda: program(new=False)))
    assert OwnTls(tmp_path / "farm" / FOLDER).has_authority()
