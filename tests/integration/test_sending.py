"""A film that the command sends while its job has begun, to a real master."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_serving import KEY, Rig, on_server

from millrace.api import jobs
from millrace.cli.failure import CommandError
from millrace.cli.jobs.sending import send_for, submit_early
from millrace.client import people
from millrace.client.client import Client
from millrace.client.errors import RefusedError
from millrace.client.http import Terms
from millrace.client.transfers import PIECE_BYTES, standing
from millrace.wire.v1.jobs import JobDetail, JobRequest

SIZE = PIECE_BYTES + 1000
WISH = JobRequest(scenario="720p30-h264")


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mp4"
    path.write_bytes(bytes(SIZE))
    return path


def client_of(rig: Rig) -> Client:
    return Client([str(rig.client.base_url)], Terms(key=KEY))


async def sent(rig: Rig, film: Path, said: Callable[[JobDetail], None], wish: JobRequest = WISH) -> JobDetail:
    with client_of(rig) as client:
        return await asyncio.to_thread(submit_early, client, film, wish, key=None, said=said, quiet=True)


async def uploads(rig: Rig) -> list[Any]:
    return [one async for one in rig.app.master.blobs.list("uploads") if one.key.endswith(".json")]


@on_server
async def test_the_job_is_there_before_the_first_byte(rig: Rig, film: Path) -> None:
    seen: list[JobDetail] = []
    job = await sent(rig, film, seen.append)
    (first,) = seen
    assert (first.number, first.state, first.upload and first.upload.arrived) == (1, "pending", 0)
    assert (job.id, job.state) == (first.id, "queued")


@on_server
async def test_it_stops_when_nobody_wants_the_film_any_more(rig: Rig, film: Path) -> None:
    def said(job: JobDetail) -> None:
        with client_of(rig) as other:
            other.do(people.cancel(job.id))

    with pytest.raises(CommandError, match="job 1 is canceled"):
        await sent(rig, film, said)


@on_server
async def test_a_request_that_is_wrong_is_refused_before_any_byte_and_leaves_nothing(rig: Rig, film: Path) -> None:
    with pytest.raises(RefusedError, match="no-such-profile"):
        await sent(rig, film, lambda _: None, JobRequest(profile="no-such-profile"))
    assert await uploads(rig) == []


@on_server
async def test_masters_that_take_no_job_before_its_film_get_the_film_first(
    rig: Rig, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(jobs, "_may_be_early", never)
    job = await sent(rig, film, lambda _: None)
    assert (job.state, job.upload) == ("queued", None)
    assert len(await uploads(rig)) == 1


@on_server
async def test_what_was_broken_off_is_told_and_sent_later(
    rig: Rig, film: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    do = Client.do
    pieces = []

    def broken(self: Client, call: Any) -> Any:
        if call.method == "PATCH":
            pieces.append(call)
            if len(pieces) == 2:
                raise KeyboardInterrupt
        return do(self, call)

    seen: list[JobDetail] = []
    with monkeypatch.context() as patched:
        patched.setattr(Client, "do", broken)
        with client_of(rig) as client, pytest.raises(KeyboardInterrupt):
            # In this thread: an interrupt goes to no other one.
            await _beside(lambda: submit_early(client, film, WISH, key=None, said=seen.append, quiet=True))
    assert f"`millrace jobs send 1 {film}` goes on, `millrace jobs cancel 1` gives it up" in capsys.readouterr().err
    (job,) = seen
    assert job.upload
    with client_of(rig) as client:
        view = await asyncio.to_thread(client.do, standing(job.upload.id))
        assert view.offset == PIECE_BYTES
        job = await asyncio.to_thread(send_for, client, film, view, job, quiet=True)
    assert job.state == "queued"


async def _beside(work: Callable[[], Any]) -> Any:
    """Run it in a thread; an interrupt there comes out here."""
    ended: list[BaseException] = []

    def run() -> Any:
        try:
            return work()
        except KeyboardInterrupt as error:
            ended.append(error)

    found = await asyncio.to_thread(run)
    if ended:
        raise ended[0]
    return found
