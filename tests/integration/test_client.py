"""The two transports against a real server: refusals, transfers, events, and what never shows."""

import asyncio
import contextlib
import socket
import ssl

import httpx2
import pytest
from fake_master import KEY, FakeMaster

from millrace.client import failover
from millrace.client.async_client import AsyncClient
from millrace.client.calls import get
from millrace.client.client import Client
from millrace.client.errors import (
    InterruptedTransferError,
    NotFoundError,
    UnauthorizedError,
    UnreachableError,
)
from millrace.client.http import Terms, broken
from millrace.client.sse import listen, transitions
from millrace.client.transfers import download_output, upload
from millrace.runtime.clock import SystemClock
from millrace.wire.v1.system import UploadView

TRANSITION = '{{"cursor":"{0}","job":"j1","number":1,"from":"queued","to":"assigned","at":"2026-01-01T00:00:00Z","reason":"r","attempt":1,"actor":"n"}}'


@contextlib.contextmanager
def speaking(*, key=KEY, urls=None, patience_s=5.0, eager=False):
    waits = []
    with (
        FakeMaster() as master,
        Client(urls or [master.url], Terms(key=key, patience_s=patience_s, eager=eager), wait=waits.append) as client,
    ):
        yield master, client, waits


def test_a_wrong_key_is_refused_and_never_shown():
    with speaking(key="mr_secret") as (_, client, _), pytest.raises(UnauthorizedError) as caught:
        client.do(get("/v1/uploads/u1", UploadView))
    assert "mr_secret" not in repr(caught.value)
    assert "mr_secret" not in repr(vars(client))


def test_a_master_that_is_busy_for_a_moment():
    with speaking() as (master, client, waits):
        faults = ["503", "503"]
        master.fault = lambda _: faults.pop() if faults else None
        with pytest.raises(NotFoundError):
            client.do(get("/v1/nothing", UploadView))
        assert len(waits) == 2


def test_a_master_that_is_gone(tmp_path):
    with FakeMaster() as gone:
        url = gone.url
    with speaking(urls=[url], patience_s=0.0) as (_, client, _), pytest.raises(UnreachableError, match="is it running"):
        client.do(get("/v1/x", UploadView))

    async def main():
        async with AsyncClient([url], Terms(key=KEY, patience_s=0.0)) as client:
            await client.do(get("/v1/x", UploadView))

    with pytest.raises(UnreachableError, match="cannot reach the master at http://127"):
        asyncio.run(main())


@contextlib.contextmanager
def silence():
    """A master that stands still: the kernel takes what is sent to it, and nobody answers."""
    with socket.socket() as still:
        still.bind(("127.0.0.1", 0))
        still.listen()
        yield f"http://127.0.0.1:{still.getsockname()[1]}"


def test_a_master_that_stands_still_is_left_for_another(monkeypatch):
    monkeypatch.setattr(failover, "SILENT_S", 2.0)
    terms = Terms(key=KEY, patience_s=20.0)  # less than a call has where there is no other master

    def commands(addresses):
        with Client(addresses, terms) as client, pytest.raises(NotFoundError):  # so says who is asked next
            client.do(get("/v1/nothing", UploadView))
        return client.address

    async def worker(addresses):
        async with AsyncClient(addresses, terms) as client:
            with pytest.raises(NotFoundError):
                await client.do(get("/v1/nothing", UploadView))
        return client.address

    async def both(addresses):
        return await asyncio.gather(asyncio.to_thread(commands, addresses), worker(addresses))

    with silence() as still, FakeMaster() as master:
        assert asyncio.run(both([still, master.url])) == [master.url] * 2


class Impatient(SystemClock):
    async def sleep(self, seconds):
        raise AssertionError(f"waited {seconds} s")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_a_master_that_is_not_there_is_not_waited_for_at_a_terminal(host):
    with FakeMaster() as gone:
        url = f"http://{host}:{gone.url.rpartition(':')[2]}"
    with speaking(urls=[url], eager=True) as (_, client, waits), pytest.raises(UnreachableError, match=url):
        client.do(get("/v1/x", UploadView))
    assert waits == []

    async def main():
        async with AsyncClient([url], Terms(key=KEY, eager=True, clock=Impatient())) as client:
            await client.do(get("/v1/x", UploadView))

    with pytest.raises(UnreachableError, match=url):
        asyncio.run(main())


def test_a_master_that_went_away_is_waited_for_even_then():
    waits = []
    with FakeMaster() as master:
        client = Client([master.url], Terms(key=KEY, eager=True), wait=waits.append)
        with pytest.raises(NotFoundError):
            client.do(get("/v1/nothing", UploadView))
    with client, pytest.raises(UnreachableError):
        client.do(get("/v1/nothing", UploadView), patience_s=0.5)
    assert waits


@pytest.mark.parametrize(
    ("cause", "absent"),
    [
        (ConnectionRefusedError(111, "Connection refused"), True),
        (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), True),
        (socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"), False),
        (ssl.SSLCertVerificationError(1, "certificate verify failed"), True),
        (OSError(113, "No route to host"), False),
    ],
)
def test_what_will_not_pass_is_told_from_what_may(cause, absent):
    error = httpx2.ConnectError(str(cause))
    error.__cause__ = cause
    found = broken(error, get("/v1/x", UploadView), Terms())
    assert (found.absent, found.sent) == (absent, False)
    assert "Errno" not in found.reason
    assert not broken(httpx2.ReadError(str(cause)), get("/v1/x", UploadView), Terms()).absent


def test_an_upload_goes_on_after_broken_connections(tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(bytes(range(250)) * 100)
    seen = []
    with speaking() as (master, client, _):
        faults = ["lost-reply", None, "lost-request", "503", None]
        master.fault = lambda call: faults.pop(0) if call.startswith("PATCH") and faults else None
        view = upload(client, film, progress=lambda have, total: seen.append((have, total)), piece_bytes=5000)
        assert master.uploads[view.id] == film.read_bytes()
        assert seen[-1] == (25_000, 25_000)
        empty = tmp_path / "empty"
        empty.touch()
        assert upload(client, empty).size == 0


def test_an_upload_that_never_gets_through_ends(tmp_path):
    film = tmp_path / "film.mp4"
    film.write_bytes(b"x" * 100)
    with speaking() as (master, client, _):
        master.fault = lambda call: "lost-request" if call.startswith("PATCH") else None
        with pytest.raises(InterruptedTransferError, match="broke off 5 times"):
            upload(client, film)


def test_a_download_goes_on_and_appears_whole(tmp_path):
    target = tmp_path / "out.mp4"
    with speaking() as (master, client, _):
        master.stored[("1", "a/film.mp4")] = data = bytes(range(256)) * 100
        master.upload_cut = [100, 0, 5000]
        assert download_output(client, "1", "a/film.mp4", target) == len(data)
        assert target.read_bytes() == data
        assert master.asked == [None, "bytes=100-", "bytes=100-", "bytes=5100-"]
        with pytest.raises(NotFoundError):
            download_output(client, "1", "gone", target)
        master.upload_cut = [0] * 10
        with pytest.raises(InterruptedTransferError):
            download_output(client, "1", "a/film.mp4", target)
    assert target.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.mp4"]


def test_events_go_on_where_the_stream_broke():
    with speaking() as (master, client, _):
        master.events = [
            [f"id: {n}\nevent: transition\ndata: {TRANSITION.format(n)}\n\n" for n in (1, 2)],
            [f": hello\n\nid: 3\nevent: transition\ndata: {TRANSITION.format(3)}\n\n"],
        ]
        found = transitions(client, after="0", job="j1")
        assert [next(found).cursor for _ in range(3)] == ["1", "2", "3"]
        found.close()
        assert [query["after"] for query in master.followed] == ["0", "2"]


def test_only_news_of_what_is_waited_for_wake_who_waits():
    ended = TRANSITION.format(2).replace('"to":"assigned"', '"to":"completed"')

    async def main(of, streams):
        with FakeMaster() as master:
            master.events = [[f"id: 1\nevent: transition\ndata: {text}\n\n" for text in streams]]
            async with AsyncClient([master.url], Terms(key=KEY)) as client:
                news = asyncio.Event()
                await listen(client, "j1", news, of=of)
                return news.is_set()

    assert asyncio.run(main(None, [TRANSITION.format(1)]))
    assert not asyncio.run(main({"completed"}, [TRANSITION.format(1)]))
    assert asyncio.run(main({"completed"}, [TRANSITION.format(1), ended]))
