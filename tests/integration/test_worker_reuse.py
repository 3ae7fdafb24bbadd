"""Finished pieces are used again: by a retry, by a job that is submitted again, by one with another rendition, and by nobody else."""

import asyncio
import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from fake_master import FakeMaster
from farm_worker import ffmpeg_source, running
from msgspec.structs import replace
from test_worker_chunks import ChunkEngine, spec
from test_worker_division import frames
from test_worker_ffmpeg import ended, film

from millrace.engines.engine import Piece
from millrace.runtime.clock import SystemClock
from millrace.worker.build import Build
from millrace.worker.cache import CacheTerms
from millrace.worker.source import Identity, identify


def cache(tmp_path: Path, **terms: float) -> CacheTerms:
    return CacheTerms(folder=tmp_path / "cache", **{"most_bytes": 10**9, "unused_s": 1e9, **terms})


class PieceEngine(ChunkEngine):
    """Three chunks, each a piece."""

    def encode(self, plan, source, folder, work, *, done=frozenset()):
        commands = []
        for number, command in enumerate(super().encode(plan, source, folder, work)):
            path = work / f"piece-{number}"
            if path not in done:
                made = Piece(name=f"chunk {number}", path=path, arguments=(str(number),), chunk=number)
                commands.append(replace(command, pieces=(made,) if number < 3 else ()))
        return tuple(commands)

    def read_inspection(self, plan, outcomes, listing):
        made = super().read_inspection(plan, outcomes, listing)
        return type(made)(probes={}, sizes=made.sizes) if self.findings else made


def farm(scenario, tmp_path, **terms):
    async def main():
        media = tmp_path / "media"
        media.mkdir()
        (media / "film.mp4").write_text("video")
        with FakeMaster() as master:
            engine = PieceEngine(tmp_path / "engine")
            given = {"cache": cache(tmp_path), **terms}
            async with running(master, tmp_path, [engine.source()], roots=[media], **given):
                await scenario(master, engine, lambda: master.add(spec(media)), media / "film.mp4")

    asyncio.run(main())


async def fails_with_one_piece(master, engine, submit):
    """A job that fails when one of its chunks is made."""
    task = submit()
    assert await engine.begin(3) == [0, 1, 3]
    engine.tell_chunk(0, "finish")
    assert await engine.begin(1) == [2]
    engine.tell_chunk(1, "fail")
    await ended(master, task)
    assert task.state == "failed"


async def completes(master, engine, task, *, chunks):
    """A job that begins with these chunks and no others."""
    began = await engine.begin(len(chunks[:2]) + 1)
    assert began == [*chunks[:2], 3]
    for number in began:
        engine.tell_chunk(number, "finish")
    for number in chunks[2:]:
        assert await engine.begin(1) == [number]
        engine.tell_chunk(number, "finish")
    await ended(master, task)
    assert task.state == "completed", task.log
    return task


def test_a_retry_of_a_failed_job_makes_only_what_is_not_made(tmp_path):
    async def scenario(master, engine, submit, _):
        await fails_with_one_piece(master, engine, submit)
        task = await completes(master, engine, submit(), chunks=[1, 2])
        assert "cache: 1 of 3 pieces are here already" in task.log
        (reused,) = task.facts["proof"]["reused"]
        assert (reused["piece"], reused["chunk"]) == ("chunk 0", 0)
        assert reused["made_by"] == {"node": "w1", "task": f"j{1:032x}.1", "attempt": 1}
        assert reused["made_at"].endswith("+00:00")

    farm(scenario, tmp_path)


def test_another_task_with_the_same_kept_input_changes_nothing_for_this_one(tmp_path):
    """It gets the file under a name of its own, which moves the times of both."""

    async def main():
        with FakeMaster() as master:
            engine = PieceEngine(tmp_path / "engine")
            master.uploads["u1"] = b"video"
            given = {"cache": cache(tmp_path), "kept_bytes": 10**6}
            async with running(master, tmp_path, [engine.source()], roots=[], **given):
                wanted = {**spec(tmp_path), "input": "upload://u1"}
                task = master.add(wanted)
                assert await engine.begin(3) == [0, 1, 3]
                (kept,) = [path for path in tmp_path.glob("**/inputs/*/*") if path.is_file()]
                (tmp_path / "another").hardlink_to(kept)
                os.utime(tmp_path / "another", (1, 1))
                for number in (0, 1, 3):
                    engine.tell_chunk(number, "finish")
                assert await engine.begin(1) == [2]
                engine.tell_chunk(2, "finish")
                await ended(master, task)
                assert task.state == "completed", task.log
                again = master.add(wanted)
                assert await engine.begin(1) == [3]
                engine.tell_chunk(3, "finish")
                await ended(master, again)
                assert "cache: 3 of 3 pieces are here already" in again.log

    asyncio.run(main())


def test_a_worker_that_ends_in_the_midst_leaves_what_it_finished_to_the_next(tmp_path):
    async def main():
        media = tmp_path / "media"
        media.mkdir()
        (media / "film.mp4").write_text("video")
        with FakeMaster() as master:
            engine = PieceEngine(tmp_path / "engine")
            given = {"roots": [media], "cache": cache(tmp_path)}
            async with running(master, tmp_path, [engine.source()], **given):
                task = master.add(spec(media))
                assert await engine.begin(3) == [0, 1, 3]
                engine.tell_chunk(1, "finish")
                assert await engine.begin(1) == [2]
            master.change(task, state="queued")
            async with running(master, tmp_path, [engine.source()], **given):
                await completes(master, engine, task, chunks=[0, 2])

    asyncio.run(main())


def test_a_canceled_job_leaves_what_it_made_to_the_next(tmp_path):
    async def scenario(master, engine, submit, _):
        task = submit()
        assert await engine.begin(3) == [0, 1, 3]
        engine.tell_chunk(1, "finish")
        assert await engine.begin(1) == [2]
        master.change(task, state="canceled")
        await completes(master, engine, submit(), chunks=[0, 2])

    farm(scenario, tmp_path)


def test_a_job_that_is_submitted_again_makes_nothing_but_the_join(tmp_path):
    async def scenario(master, engine, submit, _):
        await completes(master, engine, submit(), chunks=[0, 1, 2])
        task = await completes(master, engine, submit(), chunks=[])
        assert [one["chunk"] for one in task.facts["proof"]["reused"]] == [0, 1, 2]

    farm(scenario, tmp_path)


def test_another_film_under_the_same_name_is_made_anew(tmp_path):
    async def scenario(master, engine, submit, source):
        await completes(master, engine, submit(), chunks=[0, 1, 2])
        source.write_text("videO, not video")
        await completes(master, engine, submit(), chunks=[0, 1, 2])

    farm(scenario, tmp_path)


def test_what_was_made_of_a_film_that_changed_meanwhile_is_not_kept(tmp_path):
    async def scenario(master, engine, submit, source):
        task = submit()
        assert await engine.begin(3) == [0, 1, 3]
        source.write_text("another video")
        source.write_text("video")
        engine.tell_chunk(0, "finish")
        assert await engine.begin(1) == [2]
        for number in (1, 2, 3):
            engine.tell_chunk(number, "finish")
        await ended(master, task)
        await completes(master, engine, submit(), chunks=[0, 1, 2])

    farm(scenario, tmp_path)


def test_pieces_of_an_output_that_is_not_as_planned_are_not_used_again(tmp_path):
    async def scenario(master, engine, submit, _):
        await completes(master, engine, submit(), chunks=[0, 1, 2])
        engine.findings = True
        task = submit()
        assert await engine.begin(1) == [3]
        engine.tell_chunk(3, "finish")
        await ended(master, task)
        assert task.failure[0] == "output"
        engine.findings = False
        await completes(master, engine, submit(), chunks=[0, 1, 2])

    farm(scenario, tmp_path)


def test_a_worker_without_a_cache_makes_everything(tmp_path):
    async def scenario(master, engine, submit, _):
        await completes(master, engine, submit(), chunks=[0, 1, 2])
        task = await completes(master, engine, submit(), chunks=[0, 1, 2])
        assert task.facts["proof"]["reused"] == []

    farm(scenario, tmp_path, cache=None)


def test_a_piece_that_a_disk_has_changed_is_made_again(tmp_path):
    async def scenario(master, engine, submit, _):
        await completes(master, engine, submit(), chunks=[0, 1, 2])
        (changed,) = [path for path in (tmp_path / "cache").rglob("piece") if path.read_bytes() == b"piece 1"]
        changed.write_bytes(b"piece 7")
        task = await completes(master, engine, submit(), chunks=[1])
        assert [one["chunk"] for one in task.facts["proof"]["reused"]] == [0, 2]

    farm(scenario, tmp_path)


# With the real engine ------------------------------------------------------------------------------------------------


LADDER = [("72p", 72), ("36p", 36)]


def document(rungs=LADDER, **more: Any) -> dict[str, Any]:
    ladder = [
        {"name": name, "video": {"codec": "h264", "height": height, "preset": "ultrafast", "crf": 30}}
        for name, height in rungs
    ]
    return {"name": "t", "packaging": "cmaf", "segment_s": 1, "gop_s": 1, "renditions": ladder, "audio": [{}], **more}


def real(scenario, tmp_path, **terms):
    async def main():
        media = tmp_path / "media"
        media.mkdir()
        with FakeMaster() as master:
            source = film(media / "film.mp4", seconds=3)

            async def made(number, profile, chunks, path=source):
                wanted = {
                    **spec(media, chunks=chunks),
                    "input": str(path),
                    "output": str(media / f"out-{number}"),
                    "profile": profile,
                }
                task = await ended(master, master.add(wanted))
                assert task.state == "completed", task.log
                proof = json.loads((media / f"out-{number}" / "proof.json").read_text())
                return task, proof, media / f"out-{number}"

            given = {"cache": cache(tmp_path), "cores": 2, **terms}
            async with running(master, tmp_path, [ffmpeg_source()], roots=[media], **given):
                await scenario(made, source)

    asyncio.run(main())


def encodes(task) -> list[str]:
    """The encodes that ran, by their labels."""
    ends = (line.split(" ", 1)[-1] for line in task.log.splitlines() if "of CPU" in line)
    return [end.partition(":")[0] for end in ends if "encode" in end]


@pytest.mark.parametrize("chunks", ["always", "never"])
def test_a_film_that_is_submitted_again_and_with_another_rendition(tmp_path, chunks):
    async def scenario(made, source):
        first, proof, _ = await made(1, document(), chunks)
        assert encodes(first)
        assert proof["reused"] == []
        again, same, _ = await made(2, document(), chunks)
        assert encodes(again) == []
        assert same["checksums"] == proof["checksums"]
        assert {one["made_by"]["task"] for one in same["reused"]} == {f"j{1:032x}.1"}
        more, larger, other = await made(3, document([*LADDER, ("18p", 18)]), chunks)
        # Only the new one is encoded, and what is there is as it was.
        assert "encode the sound" not in encodes(more)
        assert encodes(more)
        for line in more.log.splitlines():
            assert "[v0]" not in line.partition("-map")[2]
        kept = {name: one for name, one in proof["checksums"].items() if name.endswith(".m4s")}
        assert kept.items() <= larger["checksums"].items()
        assert len(larger["reused"]) == len(same["reused"])
        assert len(frames(other / "18p" / "index.m3u8")) == 75
        # One byte of the input that no picture shows is another film.
        other_source = source.with_name("other.mp4")
        data = source.read_bytes()
        other_source.write_bytes(data.replace(b"Lavf", b"Lavg", 1))
        assert data != other_source.read_bytes()
        _, another, _ = await made(4, document(), chunks, other_source)
        assert another["reused"] == []

    real(scenario, tmp_path)


def test_the_division_of_before_is_taken_where_its_pieces_are_there(tmp_path):
    async def scenario(made, _):
        await made(1, document(), "always")
        task, proof, _ = await made(2, document([*LADDER, ("18p", 18)]), "auto")
        assert "as for an earlier job with this film" in task.log
        assert len(proof["reused"]) > 2
        assert len(proof["chunks"]) > 1

    real(scenario, tmp_path)


def test_the_bits_of_a_rendition_are_those_that_it_has_beside_all_others(tmp_path):
    """What is made alone, with the rest taken from a cache, is what one command makes of all."""
    sums = []
    for number, first in enumerate(([("72p", 72)], None)):
        folder = tmp_path / str(number)
        folder.mkdir()

        async def both(made, _, first=first):
            if first is not None:
                await made(1, document(first), "never")
            _, proof, _ = await made(2, document([("72p", 72), ("36p", 36), ("18p", 18)]), "never")
            sums.append((len(proof["reused"]), {k: v for k, v in proof["checksums"].items() if k.endswith(".m4s")}))

        real(both, folder, cores=1)
    (taken, partly), (nothing, at_once) = sums
    assert (taken, nothing) == (2, 0)
    assert partly == at_once


# What names a piece --------------------------------------------------------------------------------------------------


def test_another_build_of_the_program_or_of_a_library_is_another_build(tmp_path, monkeypatch):
    program = tmp_path / "engine"
    program.write_bytes(Path("/bin/sh").resolve().read_bytes())
    program.chmod(0o755)

    async def main():
        build = Build(program, clock=SystemClock(), environment={"PATH": "/bin"})
        first = await build.digest()
        assert first
        assert await build.digest() == first
        with program.open("ab") as file:
            file.write(b"!")
        second = await build.digest()
        assert second not in (None, first)
        library = tmp_path / "libx264.so"
        library.write_bytes(b"one")
        monkeypatch.setattr("millrace.worker.build._LIBRARY", Named(library))
        builds = []
        for content in (b"one", b"two"):
            library.write_bytes(content)
            builds.append(await Build(program, clock=SystemClock(), environment={}).digest())
        assert len({second, *builds}) == 3
        known = Build(program, clock=SystemClock(), environment={})
        assert await known.digest() == builds[1]
        library.write_bytes(b"one")
        assert await known.digest() == builds[0]

    asyncio.run(main())


class Named:
    """Finds a library of ours in whatever a loader says."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def findall(self, _: str) -> list[str]:
        return [str(self.path)]


def test_what_a_script_would_start_is_no_known_build(tmp_path):
    async def main():
        script = tmp_path / "ffmpeg"
        script.write_text("#!/bin/sh\nexec ffmpeg $*\n")
        script.chmod(0o755)
        assert await Build(script, clock=SystemClock(), environment={}).digest() is None
        assert await Build(tmp_path / "nothing", clock=SystemClock(), environment={}).digest() is None

    asyncio.run(main())


def test_a_source_is_known_by_all_its_bytes_as_long_as_nobody_writes_to_it(tmp_path):
    async def main():
        path = tmp_path / "film.mp4"
        path.write_bytes(b"film")
        source = await identify(path)
        assert source.sha256 == hashlib.sha256(b"film").hexdigest()
        assert source.is_unchanged()
        path.write_bytes(b"file")
        assert not source.is_unchanged()
        path.unlink()
        assert not source.is_unchanged()
        with pytest.raises(FileNotFoundError):
            await identify(path)

    asyncio.run(main())


def test_who_was_told_what_a_source_is_believes_it_only_of_the_very_same_file(tmp_path):
    async def main():
        path = tmp_path / "film.mp4"
        path.write_bytes(b"film")
        marks = (await identify(path)).identity.marks
        told = Identity(marks, "f" * 64)
        assert (await identify(path, told)).sha256 == "f" * 64
        for other in (
            replace(marks, inode=marks.inode + 1),
            replace(marks, size=5),
            replace(marks, modified_ns=marks.modified_ns + 1),
            replace(marks, changed_ns=marks.changed_ns + 1),
        ):
            assert (await identify(path, Identity(other, "f" * 64))).sha256 == hashlib.sha256(b"film").hexdigest()
        assert (await identify(path, Identity(replace(marks, device=7), "f" * 64))).sha256 == "f" * 64

    asyncio.run(main())
