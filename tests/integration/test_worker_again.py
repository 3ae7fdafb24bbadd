"""A piece that is not what it should be is made again, and a job is never completed with it."""

import asyncio
import json
from collections.abc import AsyncIterable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from api_serving import KEY, Rig, listening
from farm_worker import FFMPEG, ffmpeg_source, running
from test_worker_division import RATE, SECONDS, ended, film, frames, profile

from millrace.blobs.local import LocalBlobs
from millrace.blobs.values import Stored
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.worker.proofs import EngineSource

__all__ = ["film"]

WRONG = """#!/bin/bash
# FFmpeg that drops the last frame of the first chunk with those ahead: {when}.
if [[ "$*" =~ \\+1/2,([0-9]+)\\) ]] && {condition}; then
  echo wrong >> "{said}"
  last=${{BASH_REMATCH[1]}}
  exec {ffmpeg} "${{@/2,$last)/2,$((last - 1)))}}"
fi
exec {ffmpeg} "$@"
"""


class DamagingBlobs(LocalBlobs):
    """A disk that changes a byte of what is stored under some names, after it was stored."""

    def __init__(self, root: Path, *words: str) -> None:
        super().__init__(root)
        self.words = words
        self.damaged: list[str] = []

    async def put(self, key: str, source: Path | AsyncIterable[bytes], *, size_bytes: int | None = None) -> Stored:
        stored = await super().put(key, source, size_bytes=size_bytes)
        if any(word in key for word in self.words):
            path = self._path(key)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            path.write_bytes(data)
            self.damaged.append(key)
        return stored


def farm(tmp_path: Path, film: Path, scenario: Any, *, words: tuple[str, ...] = (), engines: Any = None) -> None:
    async def main() -> None:
        async with AsyncExitStack() as stack:
            rig = await stack.enter_async_context(listening(tmp_path / "master"))
            if words:
                rig.app.master.blobs = DamagingBlobs(tmp_path / "master" / "blobs", *words)
            workers = engines or [ffmpeg_source(), ffmpeg_source()]
            for number, source in enumerate(workers):
                folder = tmp_path / f"w{number}"
                folder.mkdir()
                await stack.enter_async_context(
                    running(
                        None, folder, [source], urls=[str(rig.client.base_url)], key=KEY, name=f"w{number}",
                        roots=[film.parent, tmp_path / "out"],
                    )
                )  # fmt: skip
            (tmp_path / "out").mkdir()
            await scenario(rig)

    asyncio.run(main())


async def made(rig: Rig, film: Path, out: Path, document: Mapping[str, Any], chunks: str, **more: Any) -> Any:
    fields = {"scenario": None, "profile": document, "input": str(film), "output": str(out), **more}
    job = await rig.submit(**fields, parameters={"chunks": chunks})
    return await ended(rig, job["number"])


def wrong_ffmpeg(tmp_path: Path, *, always: bool) -> tuple[EngineSource, Path]:
    said, script = tmp_path / "said", tmp_path / "ffmpeg"
    condition = "true" if always else f'[ ! -e "{said}" ]'
    when = "always" if always else "the first time"
    script.write_text(WRONG.format(when=when, condition=condition, said=said, ffmpeg=FFMPEG))
    script.chmod(0o755)
    bind = lambda working: FFmpeg(script, working=working)  # noqa: E731  as short as that of `ffmpeg_source`
    return EngineSource(name="ffmpeg", binary=script, encoders=("libx264", "aac"), bind=bind), said


@pytest.mark.parametrize("word", ["pieces/chunk-00001/", "pieces/sides.mp4"])
def test_a_piece_that_a_disk_has_changed_is_made_again_by_who_joins(tmp_path: Path, film: Path, word: str) -> None:
    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "divided", profile("mp4"), "always")
        assert job["state"] == "completed", job["failure"]
        assert rig.app.master.blobs.damaged  # type: ignore[attr-defined]
        whole = await made(rig, film, tmp_path / "out" / "whole", profile("mp4"), "never")
        assert whole["state"] == "completed"
        for kind in ("v", "a"):
            divided, together = (tmp_path / "out" / name / "video.mp4" for name in ("divided", "whole"))
            assert frames(divided, kind) == frames(together, kind)
        proof = json.loads((tmp_path / "out" / "divided" / "proof.json").read_text())
        by_join = [one["number"] for one in proof["chunks"] if one["made_by"]["task"].endswith(".1")]
        assert by_join == ([1] if "chunk" in word else [])
        log = (await rig.call("GET", f"/v1/jobs/{job['number']}/logs")).text
        assert f"{'chunk 1' if 'chunk' in word else 'the sound'} is made again here" in log

    farm(tmp_path, film, scenario, words=(word,))


def test_where_most_pieces_are_lost_the_join_fails_and_says_so(tmp_path: Path, film: Path) -> None:
    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "divided", profile("mp4"), "always", max_retries=0)
        assert job["state"] == "failed"
        assert job["failure"]["class"] == "network"
        assert "of its parts are not there" in job["failure"]["message"]
        assert not (tmp_path / "out" / "divided").exists()

    farm(tmp_path, film, scenario, words=("pieces/",))


def test_a_chunk_with_too_few_frames_is_made_again(tmp_path: Path, film: Path) -> None:
    source, said = wrong_ffmpeg(tmp_path, always=False)

    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always", max_retries=0)
        assert job["state"] == "completed", job["failure"]
        assert said.read_text() == "wrong\n"
        assert len(frames(tmp_path / "out" / "film" / "video.mp4")) == SECONDS * RATE
        log = (await rig.call("GET", f"/v1/jobs/{job['number']}/logs")).text
        assert "were planned; it is made again" in log

    farm(tmp_path, film, scenario, engines=[source])


def test_a_chunk_that_never_has_its_frames_fails_the_job_with_a_reason(tmp_path: Path, film: Path) -> None:
    source, said = wrong_ffmpeg(tmp_path, always=True)

    async def scenario(rig: Rig) -> None:
        job = await made(rig, film, tmp_path / "out" / "film", profile("mp4"), "always", max_retries=0)
        assert job["state"] == "failed"
        assert said.read_text() == "wrong\nwrong\n"
        assert job["failure"]["class"] == "engine"
        assert "were planned, twice" in job["failure"]["message"]
        assert not (tmp_path / "out" / "film").exists()

    farm(tmp_path, film, scenario, engines=[source])
