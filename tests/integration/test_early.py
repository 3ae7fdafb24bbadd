"""Films whose upload still arrives, on two workers: begun before the last byte is sent, and the same as if all had been there."""

import asyncio
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from api_serving import KEY, Rig
from farm_worker import FFMPEG
from test_worker_division import ended, farm, frames, made, profile

from millrace.client.async_client import AsyncClient
from millrace.client.http import Terms
from millrace.domain.media.byte_ranges import Bundle, Ranges, Span
from millrace.engines import head_layout
from millrace.runtime.clock import SystemClock
from millrace.scheduler import arrive
from millrace.worker import early
from millrace.worker.control import Control
from millrace.worker.failure import NotArrivedError
from millrace.worker.fetch import Fetching, FetchLimits
from millrace.worker.fetch_master import UploadFetch

SECONDS = 20
PIECE = 250_000
PIECES = {"content-type": "application/offset+octet-stream"}


def encoded(path: Path, *options: str) -> Path:
    """Small pictures in large frames: the rate is constant, so that the bytes of a second lie where they are expected."""
    rate = "nal-hrd=cbr:filler=1:bitrate=800:vbv-maxrate=800:vbv-bufsize=800:keyint=25:log=-1"
    inputs = [f"testsrc2=size=128x72:rate=25:duration={SECONDS}", f"sine=duration={SECONDS}:sample_rate=48000"]
    subprocess.run(
        [
            *(str(FFMPEG), "-v", "error", *(part for one in inputs for part in ("-f", "lavfi", "-i", one))),
            *("-c:v", "libx264", "-preset", "ultrafast", "-x264-params", rate, "-c:a", "aac", *options, str(path)),
        ],
        check=True,
    )
    return path


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return encoded(tmp_path_factory.mktemp("front") / "film.mp4", "-movflags", "+faststart")


@pytest.fixture(autouse=True)
def little_is_opened(monkeypatch: pytest.MonkeyPatch) -> None:
    """The films here are smaller than what is asked for beside the index of a real one."""
    monkeypatch.setattr(head_layout, "OPENING_BYTES", 400_000)


class Sending:
    """An upload that comes piece by piece."""

    def __init__(self, rig: Rig, film: Path) -> None:
        self.rig = rig
        self.data = film.read_bytes()
        self.name = film.name
        self.sent = 0

    async def begin(self) -> str:
        self.view = await self.rig.post("/v1/uploads", {"name": self.name, "size": len(self.data)}, status=201)
        return f"upload://{self.view['id']}"

    async def until(self, end: int) -> None:
        """Send all before this place."""
        while self.sent < end:
            piece = self.data[self.sent : min(end, self.sent + PIECE)]
            headers = {**PIECES, "upload-offset": str(self.sent)}
            answer = await self.rig.call("PATCH", f"/v1/uploads/{self.view['id']}", content=piece, headers=headers)
            assert answer.status_code == 200, answer.text
            self.sent += len(piece)

    async def all_but_the_end(self) -> None:
        await self.until(len(self.data) - PIECE)

    async def rest(self) -> None:
        await self.until(len(self.data))


async def submitted(rig: Rig, sending: Sending, out: Path | None = None, **more: Any) -> Any:
    return await rig.submit(
        scenario=None, profile=profile("mp4"), input=await sending.begin(), output=None if out is None else str(out),
        early=True, **more,
    )  # fmt: skip


async def until(rig: Rig, number: int, holds: Callable[[Any], bool]) -> Any:
    """The job as soon as that holds of it."""
    async with asyncio.timeout(120):
        while True:
            ring = rig.farm.changes.next_ring
            job = await rig.get(f"/v1/jobs/{number}")
            assert not job["finished"], job["failure"]
            if holds(job):
                return job
            await ring.wait()


def is_divided(job: Any) -> bool:
    return len(job["tasks"]) > 1


def chunks(job: Any, *states: str) -> list[Any]:
    return [task for task in job["tasks"] if task["kind"] == "chunk" and (not states or task["state"] in states)]


def has_made_some(job: Any) -> bool:
    """All that could be made is made, and that is not all."""
    return is_divided(job) and bool(chunks(job, "completed")) and not chunks(job, "queued", "assigned", "processing")


def test_an_encode_begins_before_the_last_byte_and_is_the_one_that_it_would_have_been(
    tmp_path: Path, film: Path
) -> None:
    async def scenario(rig: Rig) -> None:
        sending = Sending(rig, film)
        job = await submitted(rig, sending, tmp_path / "out" / "early")
        assert job["state"] == "pending"
        waits = await rig.get(f"/v1/jobs/{job['number']}/explain")
        assert waits["waits"] == "0 % of its upload has arrived"
        await sending.all_but_the_end()
        job = await until(rig, job["number"], has_made_some)
        assert job["upload"]["size"] == len(sending.data)
        assert job["upload"]["arrived"] == sending.sent
        assert chunks(job, "pending")
        await sending.rest()
        job = await ended(rig, job["number"])
        assert job["state"] == "completed", job["failure"]
        assert job["upload"] is None
        # The lead may have looked at a beginning that was too short; no part was begun before its bytes.
        assert {one["outcome"] for one in job["attempts"] if not one["task"].endswith(".1")} == {"completed"}
        assert [one["outcome"] for one in job["attempts"] if one["task"].endswith(".1")][-2:] == ["split", "completed"]
        why = await rig.get(f"/v1/jobs/{job['number']}/explain")
        assert "each begun as soon as its part of the upload has arrived" in why["decision"]["reason"]
        await check_frames(rig, film, tmp_path)

    farm(tmp_path, film, scenario)


async def check_frames(rig: Rig, film: Path, tmp_path: Path) -> None:
    """What was begun early has the frames of the same film, made whole from a path."""
    whole = await made(rig, film, tmp_path / "out" / "whole", profile("mp4"), "never")
    assert len(whole["tasks"]) == 1
    for kind in ("v", "a"):
        found, wanted = (frames(tmp_path / "out" / name / "video.mp4", kind) for name in ("early", "whole"))
        assert len(wanted) >= SECONDS * 25
        assert found == wanted


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "its index stands behind its pictures"),
        (("-movflags", "+frag_keyframe+empty_moov"), "its index is spread over fragments"),
    ],
)
def test_a_film_that_cannot_be_begun_waits_for_all_of_it_and_says_why(
    tmp_path: Path, options: tuple[str, ...], why: str
) -> None:
    film = encoded(tmp_path / "film.mp4", *options)

    async def scenario(rig: Rig) -> None:
        sending = Sending(rig, film)
        job = await submitted(rig, sending)
        await sending.all_but_the_end()
        job = await until(rig, job["number"], lambda job: job["upload"]["reason"] and job["state"] == "pending")
        waits = (await rig.get(f"/v1/jobs/{job['number']}/explain"))["waits"]
        percent = 100 * sending.sent // len(sending.data)
        assert waits == f"{percent} % of its upload has arrived; all of its upload is needed: {why}"
        assert [one["outcome"] for one in job["attempts"]] == ["handed_back"] * len(job["attempts"])
        nodes = (await rig.get("/v1/nodes"))["nodes"]
        assert [one["holding"] for one in nodes] == [0, 0]
        if options:
            return
        await sending.rest()
        job = await ended(rig, job["number"])
        assert job["state"] == "completed", job["failure"]

    farm(tmp_path, film, scenario)


@pytest.mark.parametrize("place", [200_000, 800_000])
def test_bytes_that_are_others_in_the_end_fail_the_job(tmp_path: Path, film: Path, place: int) -> None:
    """In the index and beside it, and in what a part was made of."""

    async def scenario(rig: Rig) -> None:
        sending = Sending(rig, film)
        job = await submitted(rig, sending, tmp_path / "out" / "early")
        await sending.all_but_the_end()
        await until(rig, job["number"], has_made_some)
        begin = place // PIECE * PIECE
        (blob,) = (tmp_path / "master" / "blobs").rglob(f"*{sending.view['id']}/*{begin:016d}")
        data = bytearray(blob.read_bytes())
        data[place - begin] ^= 1
        blob.unlink()
        blob.write_bytes(data)
        await sending.rest()
        job = await ended(rig, job["number"])
        assert (job["state"], job["failure"]["class"]) == ("failed", "input")
        assert "are not those that it had while it arrived" in job["failure"]["message"]
        assert not (tmp_path / "out" / "early" / "video.mp4").exists()

    farm(tmp_path, film, scenario)


def test_an_index_that_is_wrong_costs_the_wait_for_all_of_the_film_and_never_a_frame(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = early.needs
    monkeypatch.setattr(early, "needs", lambda *of: {name: holed(spans) for name, spans in needs(*of).items()})

    async def scenario(rig: Rig) -> None:
        sending = Sending(rig, film)
        job = await submitted(rig, sending, tmp_path / "out" / "early")
        await sending.all_but_the_end()
        await until(
            rig, job["number"], lambda job: is_divided(job) and not chunks(job, "queued", "assigned", "processing")
        )
        await sending.rest()
        job = await ended(rig, job["number"])
        assert job["state"] == "completed", job["failure"]
        of_parts = [one for one in job["attempts"] if not one["task"].endswith(".1")]
        assert {one["outcome"] for one in of_parts} == {"handed_back", "completed"}
        assert {one["failure"] for one in of_parts} == {None}
        log = (await rig.call("GET", f"/v1/jobs/{job['number']}/logs")).text
        assert log.count("it is made once more, from all of the input") >= len(chunks(job))
        await check_frames(rig, film, tmp_path)

    farm(tmp_path, film, scenario)


def holed(spans: tuple[Span, ...]) -> tuple[Span, ...]:
    """With a hole as long as five frames in the middle of the longest."""
    longest = max(spans, key=lambda span: span[1] - span[0])
    middle = sum(longest) // 2
    holes = [(longest[0], middle), (middle + 50_000, longest[1])]
    return tuple(left for span in spans for left in (holes if span == longest else [span]))


def test_a_worker_hears_how_much_of_an_upload_is_there(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        sending = Sending(rig, film)
        location, size = await sending.begin(), len(sending.data)
        async with AsyncClient([str(rig.client.base_url)], Terms(key=KEY)) as client:
            clock = SystemClock()
            upload_fetch = UploadFetch(client, clock=clock, draw=lambda: 0.0)

            async def lacks(*spans: Span) -> tuple[int, int]:
                ranges = Ranges(size=size, bundles=(Bundle(spans=spans, sha256=""),)) if spans else None
                wanted = Fetching(
                    location=location, target=tmp_path / "input", limits=FetchLimits(), control=Control(clock),
                    told=lambda *_: None, ranges=ranges,
                )  # fmt: skip
                with pytest.raises(NotArrivedError) as caught:
                    await upload_fetch(wanted)
                return caught.value.needed, caught.value.size

            assert await lacks() == (1, 0)  # nobody knows yet how long it is
            await sending.until(1000)
            assert await lacks() == (size, size)
            assert await lacks((0, 1000), (1500, 2000)) == (2000, size)

    farm(tmp_path, film, scenario, workers=0)


def test_an_upload_that_is_given_up_fails_its_job(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        sending = Sending(rig, film)
        job = await submitted(rig, sending)
        await sending.all_but_the_end()
        await until(rig, job["number"], has_made_some)
        gone = await rig.call("DELETE", f"/v1/uploads/{sending.view['id']}")
        assert gone.status_code == 204, gone.text
        job = await ended(rig, job["number"])
        assert (job["state"], job["failure"]["class"]) == ("failed", "input")
        assert job["failure"]["message"] == arrive.GONE

    farm(tmp_path, film, scenario)


def test_a_job_that_is_canceled_while_its_film_arrives_begins_nothing_more(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        sending = Sending(rig, film)
        job = await submitted(rig, sending)
        await sending.all_but_the_end()
        await until(rig, job["number"], has_made_some)
        await rig.post(f"/v1/jobs/{job['number']}/cancel")
        await sending.rest()
        job = await rig.get(f"/v1/jobs/{job['number']}")
        assert job["state"] == "canceled"
        assert {task["state"] for task in job["tasks"]} == {"canceled", "completed"}

    farm(tmp_path, film, scenario)
