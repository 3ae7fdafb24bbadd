"""One film on two workers: a real master, the real FFmpeg, and frames compared with those of the same film made whole."""

import asyncio
import json
import random
import shutil
import subprocess
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from api_serving import KEY, Rig, listening
from farm_worker import FFMPEG, ffmpeg_source, running
from msgspec.structs import replace
from test_api_parts import divided, joins
from test_api_parts import made as made_part

from millrace.client.async_client import AsyncClient
from millrace.client.http import Terms
from millrace.domain.media.check import Finding
from millrace.domain.media.split import Chunk
from millrace.runtime.clock import SystemClock
from millrace.scheduler.farm import Rules
from millrace.wire.v1.work import MadeView, PartsReply, PieceView
from millrace.worker.cache import CacheTerms
from millrace.worker.control import Control
from millrace.worker.division import Order, check_source
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import FetchLimits
from millrace.worker.pieces import Pieces, makers, place_of

SECONDS, RATE = 6, 25
LOWER = [
    {"name": f"low-{height}", "video": {"codec": "h264", "height": height, "preset": "ultrafast", "crf": 0}}
    for height in (36, 18)
]


def profile(packaging: str, **more: Any) -> dict[str, Any]:
    """Without loss, so that frames can be compared one by one."""
    video = {"codec": "h264", "height": 72, "preset": "ultrafast", "crf": 0}
    times = {"segment_s": 1, "gop_s": 1} if packaging == "cmaf" else {"gop_s": 1}
    return {"name": "exact", "packaging": packaging, "renditions": [{"video": video}], "audio": [{}], **times, **more}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    inputs = [f"testsrc2=size=128x72:rate={RATE}:duration={SECONDS}", f"sine=duration={SECONDS}:sample_rate=48000"]
    subprocess.run(
        [
            *(str(FFMPEG), "-v", "error", *(part for one in inputs for part in ("-f", "lavfi", "-i", one))),
            *("-c:v", "libx264", "-preset", "ultrafast", "-g", "20", "-bf", "2", "-c:a", "aac"),
            *("-metadata", "title=The film", str(path)),
        ],
        check=True,
    )
    return path


def frames(path: Path, kind: str = "v") -> list[str]:
    """Each decoded frame with its time."""
    command = [str(FFMPEG), "-v", "error", "-i", str(path), "-map", f"0:{kind}:0", "-f", "framemd5", "-"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [line for line in done.stdout.splitlines() if not line.startswith("#")]


def headers(path: Path) -> str:
    """What FFmpeg says of a file."""
    return subprocess.run([str(FFMPEG), "-i", str(path)], capture_output=True, text=True, check=False).stderr


async def ended(rig: Rig, number: int) -> Any:
    """The job when it has ended."""
    async with asyncio.timeout(120):
        while True:
            ring = rig.farm.changes.next_ring
            job = await rig.get(f"/v1/jobs/{number}")
            if job["finished"]:
                return job
            await ring.wait()


ONCE = Rules(hedge=False)
"""Which parts two workers make hangs on how busy this machine is."""


def farm(
    tmp_path: Path,
    film: Path,
    scenario: Any,
    *,
    workers: int = 2,
    rules: Rules = ONCE,
    wrap: Any = lambda store: store,
    **terms: Any,
) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            rig = await stack.enter_async_context(listening(tmp_path / "master", rules=rules, wrap=wrap))
            for number in range(workers):
                folder = tmp_path / f"w{number}"
                folder.mkdir()
                await stack.enter_async_context(
                    running(
                        None, folder, [ffmpeg_source()], urls=[str(rig.client.base_url)], key=KEY, name=f"w{number}",
                        roots=[film.parent, tmp_path / "out"],
                        **{name: given(folder) if callable(given) else given for name, given in terms.items()},
                    )
                )  # fmt: skip
            (tmp_path / "out").mkdir()
            await scenario(rig)

    asyncio.run(main())


async def made(rig: Rig, film: Path, out: Path | None, document: dict[str, Any], chunks: str, **more: str) -> Any:
    job = await rig.submit(
        scenario=None,
        profile=document,
        input=str(film),
        output=None if out is None else str(out),
        parameters={"chunks": chunks, **more},
    )
    return await ended(rig, job["number"])


@pytest.mark.parametrize("packaging", ["mp4", "cmaf"])
def test_a_film_that_two_workers_made_is_the_one_that_one_makes(tmp_path: Path, film: Path, packaging: str) -> None:
    size = film.stat().st_size

    async def scenario(rig: Rig) -> None:
        document = profile(packaging, metadata="keep", comparison={"frames": 2})
        job = await made(rig, film, tmp_path / "out" / "divided", document, "always")
        assert job["state"] == "completed", job["failure"]
        lead, *parts = job["tasks"]
        assert lead["kind"] == "join"
        assert [part["kind"] for part in parts] == ["sides", *["chunk"] * (len(parts) - 1)]
        assert {part["node_name"] for part in parts} == {"w0", "w1"}
        assert sum(part["frames"] for part in parts) == SECONDS * RATE
        assert [part["frames"] for part in parts[1:]] == sorted((part["frames"] for part in parts[1:]), reverse=True)
        spent = (await rig.get(f"/v1/jobs/{job['number']}/explain"))["actual"]
        assert spent["cpu_s"] == job["facts"]["encode_cpu_s"] > 0
        whole = await made(rig, film, tmp_path / "out" / "whole", document, "never")
        assert len(whole["tasks"]) == 1
        assert whole["facts"]["probe"]["size"] == job["facts"]["probe"]["size"] == size
        name = "video.mp4" if packaging == "mp4" else "master.m3u8"
        for kind in ("v", "a"):
            assert frames(tmp_path / "out" / "divided" / name, kind) == frames(tmp_path / "out" / "whole" / name, kind)
        for number in (1, 2):
            picture = f"comparison/72p-{number}.png"
            divided, alone = (tmp_path / "out" / name_ / picture for name_ in ("divided", "whole"))
            assert divided.read_bytes() == alone.read_bytes()
            assert str(divided) in {output["path"] for output in job["outputs"]}
        proof = json.loads((tmp_path / "out" / "divided" / "proof.json").read_text())
        by_task = {part["task"]: part for part in parts}
        for chunk in proof["chunks"]:
            maker = by_task[chunk["made_by"]["task"]]
            assert (maker["node_name"], maker["frames"]) == (chunk["made_by"]["node"], chunk["frames"])
        if packaging == "mp4":
            assert "The film" in headers(tmp_path / "out" / "divided" / name)
        log = (await rig.call("GET", f"/v1/jobs/{job['number']}/logs")).text
        assert "pieces to the master" in log
        assert f"job {job['number']}, join, attempt 2" in log

    farm(tmp_path, film, scenario)


def test_an_upload_is_divided_into_a_part_for_each_worker_and_kept_by_the_master(tmp_path: Path, film: Path) -> None:
    data = film.read_bytes()

    async def scenario(rig: Rig) -> None:
        upload = await rig.post("/v1/uploads", {"name": "film.mp4", "size": len(data)}, status=201)
        headers = {"content-type": "application/offset+octet-stream", "upload-offset": "0"}
        sent = await rig.call("PATCH", f"/v1/uploads/{upload['id']}", content=data, headers=headers)
        assert sent.status_code == 200, sent.text
        job = await rig.submit(
            scenario=None, profile=profile("mp4"), input=f"upload://{upload['id']}", parameters={"chunks": "always"}
        )
        job = await ended(rig, job["number"])
        assert job["state"] == "completed", job["failure"]
        assert [task["kind"] for task in job["tasks"]] == ["join", "sides", "chunk", "chunk"]
        film_ = await rig.call("GET", f"/v1/jobs/{job['number']}/outputs/video.mp4")
        (tmp_path / "got.mp4").write_bytes(film_.content)
        assert len(frames(tmp_path / "got.mp4")) == SECONDS * RATE

    farm(tmp_path, film, scenario)


def test_a_worker_has_said_everything_before_its_attempt_ends_by_the_division(tmp_path: Path, film: Path) -> None:
    """Whoever follows the log would else miss lines, or see others twice."""
    said: list[bytes] = []

    class Listening:
        def __init__(self, store: Any) -> None:
            self._store = store

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

        async def split(self, asked: Any) -> Any:
            said.append(await self._store.read_log(asked.move.task_id, 1, offset=0, limit=1 << 20))
            return await self._store.split(asked)

    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always")
        assert job["state"] == "completed", job["failure"]
        log = (await rig.call("GET", f"/v1/jobs/{job['number']}/logs", params={"task": 1, "attempt": 1})).content
        assert said == [log]
        assert b"chunks on 2 workers" in log
        kept = job["facts"]["plan"]["decision"]
        assert kept["ways"][kept["chosen"]]["workers"] == 2

    farm(tmp_path, film, scenario, wrap=Listening)


def test_one_worker_alone_cuts_the_film_as_ever(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always")
        assert job["state"] == "completed", job["failure"]
        assert len(job["tasks"]) == 1
        assert len(job["facts"]["plan"]["chunks"]) > 1

    farm(tmp_path, film, scenario, workers=1)


def test_a_farm_that_may_not_divide_makes_the_film_on_one_worker(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always")
        assert job["state"] == "completed", job["failure"]
        assert len(job["tasks"]) == 1

    farm(tmp_path, film, scenario, rules=Rules(split=False))


def test_a_film_whose_damage_is_to_be_concealed_is_made_by_one_worker_and_says_so(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always", on_damage="conceal")
        assert job["state"] == "completed", job["failure"]
        assert len(job["tasks"]) == 1
        (note,) = (await rig.get(f"/v1/jobs/{job['number']}/explain"))["notes"]
        assert note.startswith("It is made by one worker: what is to be done about damage (conceal)")

    farm(tmp_path, film, scenario)


def test_parts_that_were_made_for_an_earlier_job_are_not_made_again(tmp_path: Path, film: Path) -> None:
    """Two workers that share a folder for pieces."""

    async def scenario(rig: Rig) -> None:
        first = await made(rig, film, tmp_path / "out" / "one", profile("cmaf"), "always")
        assert first["state"] == "completed", first["failure"]
        assert len(first["tasks"]) > 2
        proofs = [json.loads((tmp_path / "out" / "one" / "proof.json").read_text())]
        assert proofs[0]["reused"] == []
        # More work than one of them would have: it is divided as before, and each takes what any of them made.
        more = {**profile("cmaf"), "renditions": [*profile("cmaf")["renditions"], *LOWER]}
        second = await made(rig, film, tmp_path / "out" / "two", more, "always")
        assert second["state"] == "completed", second["failure"]
        proof = json.loads((tmp_path / "out" / "two" / "proof.json").read_text())
        assert [one["frames"] for one in proof["chunks"]] == [one["frames"] for one in proofs[0]["chunks"]]
        reused = [one for one in proof["reused"] if one["chunk"] is not None]
        assert sorted(one["chunk"] for one in reused) == [one["number"] for one in proof["chunks"]]
        makers = {one["number"]: one["made_by"] for one in proofs[0]["chunks"]}
        for one in reused:
            assert {name: one["made_by"][name] for name in ("node", "task", "attempt")} == makers[one["chunk"]]
        kept = {name: one for name, one in proofs[0]["checksums"].items() if name.endswith(".m4s")}
        assert kept.items() <= proof["checksums"].items()

    terms = CacheTerms(folder=tmp_path / "cache", most_bytes=10**9, unused_s=1e9)
    farm(tmp_path, film, scenario, cache=terms)


def cache(folder: Path) -> CacheTerms:
    return CacheTerms(folder=folder / "cache", most_bytes=10**9, unused_s=1e9)


def test_what_one_worker_made_of_an_earlier_job_another_gets_from_the_farm(tmp_path: Path, film: Path) -> None:
    """Two workers that share nothing, and have lost what they kept themselves."""

    async def again(rig: Rig, name: str) -> tuple[Any, Any]:
        for number in range(2):
            await asyncio.to_thread(shutil.rmtree, tmp_path / f"w{number}" / "cache", ignore_errors=True)
        job = await made(rig, film, tmp_path / "out" / name, profile("cmaf"), "always")
        assert job["state"] == "completed", job["failure"]
        return job, json.loads((tmp_path / "out" / name / "proof.json").read_text())

    def reused(proof: Any) -> list[int]:
        return sorted(one["chunk"] for one in proof["reused"] if one["chunk"] is not None)

    async def scenario(rig: Rig) -> None:
        _, first = await again(rig, "one")
        assert first["reused"] == []
        every = [one["number"] for one in first["chunks"]]
        _, second = await again(rig, "two")
        assert reused(second) == every
        makers = {one["number"]: one["made_by"] for one in first["chunks"]}
        assert {one["chunk"]: one["made_by"] for one in second["reused"] if one["chunk"] is not None} == makers
        media = {name: one for name, one in first["checksums"].items() if name.endswith(".m4s")}
        assert media.items() <= second["checksums"].items()
        # What a disk has changed is not taken, and what is made instead is kept in its place.
        damaged = next(one for one in second["reused"] if one["chunk"] == 1)
        (blob,) = (tmp_path / "master" / "blobs" / "cache").rglob(damaged["key"])
        data = bytearray(blob.read_bytes())
        data[-1] ^= 1
        blob.write_bytes(data)
        _, third = await again(rig, "three")
        assert reused(third) == [number for number in every if number != 1]
        assert media.items() <= third["checksums"].items()
        _, fourth = await again(rig, "four")
        assert reused(fourth) == every
        rig.app.master.keeps_pieces = False
        await asyncio.to_thread(shutil.rmtree, tmp_path / "master" / "blobs" / "cache")
        _, fifth = await again(rig, "five")
        assert fifth["reused"] == []
        assert not (tmp_path / "master" / "blobs" / "cache").exists()

    farm(tmp_path, film, scenario, cache=cache)


def test_parts_of_an_output_that_is_not_as_planned_are_not_taken_again(
    tmp_path: Path, film: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario(rig: Rig) -> None:
        monkeypatch.setattr("millrace.worker.media_steps.check", lambda *_: (Finding(path="a", text="is wrong"),))
        job = await made(rig, film, tmp_path / "out" / "one", profile("cmaf"), "always")
        assert (job["state"], job["failure"]["class"]) == ("failed", "output")
        monkeypatch.undo()
        for number in range(2):
            await asyncio.to_thread(shutil.rmtree, tmp_path / f"w{number}" / "cache")
        kept = [path for path in (tmp_path / "master" / "blobs" / "cache").rglob("?" * 64) if path.stat().st_size]
        assert len(kept) == 1  # how it was divided
        job = await made(rig, film, tmp_path / "out" / "one", profile("cmaf"), "always")
        assert job["state"] == "completed", job["failure"]
        assert json.loads((tmp_path / "out" / "one" / "proof.json").read_text())["reused"] == []

    farm(tmp_path, film, scenario, cache=cache)


def test_pieces_are_taken_only_as_their_makers_sent_them(tmp_path: Path) -> None:
    async def main() -> None:
        async with listening(tmp_path / "master") as rig:
            node = await joins(rig, "one", slots=4)
            await divided(rig, node)
            for part in await node.claim(limit=9):
                name = (
                    f"pieces/chunk-{part['part']['number']:05d}/a.m4s"
                    if part["part"]["kind"] == "chunk"
                    else "out/a.m4s"
                )
                await made_part(node, part, name, b"piece")
            (join,) = await node.claim()
            who = {"node": node.id, "attempt": 2}
            reply = await rig.get(f"/v1/tasks/{join['task']}/parts", params=who)
            parts = msgspec.convert(reply, PartsReply).parts
            terms = Terms(key=KEY, draw=random.Random(1).random)
            async with AsyncClient([str(rig.client.base_url)], terms) as client:
                folder = tmp_path / "join"
                pieces = Pieces(
                    client=client, clock=SystemClock(), draw=random.Random(1).random, limits=FetchLimits(),
                    control=Control(SystemClock()), task=join["task"], node=node.id, attempt=2, folder=folder,
                )  # fmt: skip
                told: list[float] = []
                assert await pieces.fetch(parts, told.append) == {}
                found = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.m4s"))
                assert found == ["out/a.m4s", "pieces/chunk-00000/a.m4s", "pieces/chunk-00001/a.m4s"]
                assert told[-1] == 1.0
                others = [
                    replace(part, pieces=[replace(piece, sha256="0" * 64) for piece in part.pieces]) for part in parts
                ]
                lost = await pieces.fetch(others, told.append)
                assert sorted(lost) == [part.position for part in parts]
                assert all("came with another content" in text for text in lost.values())
                (blob,) = (tmp_path / "master" / "blobs").rglob("chunk-00001/a.m4s")
                blob.write_bytes(b"wrong")
                ((_, reason),) = (await pieces.fetch(parts, told.append)).items()
                assert "is not what was recorded of it" in reason
                # Of the part that is to be made again nothing is left.
                assert sorted(path.name for path in folder.rglob("chunk-*") if any(path.iterdir())) == ["chunk-00000"]

    asyncio.run(main())


CHUNKS = (Chunk(number=0, first=0, end=50), Chunk(number=1, first=50, end=90))


def part_with(position: int, *names: str) -> MadeView:
    pieces = [PieceView(name=name, size=1, sha256="0" * 64) for name in names]
    return MadeView(position=position, attempt=1, node_name=f"w{position}", pieces=pieces)


def test_every_chunk_has_one_maker() -> None:
    both = [part_with(2, "out/a"), part_with(3, "pieces/chunk-00001/a"), part_with(4, "pieces/chunk-00000/a")]
    assert {number: maker.task for number, maker in makers("j", CHUNKS, both).items()} == {
        0: "j.4", 1: "j.3", None: "j.2",
    }  # fmt: skip
    with pytest.raises(TaskFailedError, match="nobody made chunk 0"):
        makers("j", CHUNKS, both[:2])
    with pytest.raises(TaskFailedError, match="two parts made chunk 1"):
        makers("j", CHUNKS, [*both, part_with(5, "pieces/chunk-00001/b")])


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", "out", "pieces/../../up", "attempt.log", "elsewhere/a"])
def test_a_piece_lies_nowhere_but_in_its_folders(name: str) -> None:
    with pytest.raises(TaskFailedError, match="is no name of a piece"):
        place_of(name)


def test_a_film_that_changed_since_it_was_divided_is_refused(tmp_path: Path) -> None:
    film = tmp_path / "film.mp4"
    film.write_bytes(b"film")
    order = Order(plan={}, encoders=[], source_bytes=4)
    check_source(order, film)
    film.write_bytes(b"a longer film")
    with pytest.raises(TaskFailedError, match="has 13 bytes, and had 4"):
        check_source(order, film)
