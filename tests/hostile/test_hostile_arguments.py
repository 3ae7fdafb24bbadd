"""What strangers write reaches no argument list but as the name of one file; what an engine knows of its machine is nothing."""

import asyncio
import json
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from api_serving import Rig, on_master
from msgspec.structs import replace

from millrace.domain.failures import Refused
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import AudioStream, Color, Probe, SubtitleStream, VideoStream
from millrace.domain.media.profile_document import ProfileError, profile_from
from millrace.engines.engine import Command
from millrace.engines.ffmpeg.engine import FFmpeg
from millrace.runtime.clock import SystemClock
from millrace.worker.attempt_log import Notes
from millrace.worker.control import Control
from millrace.worker.engine_run import Engines, collect
from millrace.worker.engines_alive import EnginesAlive

VALUES = (
    "-i", "-f lavfi", "x -attach /etc/passwd", ";id", "$(id)", "`id`", "a\nb", "a',movie=/etc/passwd,", "drawtext=textfile=/etc/passwd",
    "a[v];movie=/etc/passwd[w]", "../../x", "..", "%d", "CON", "x" * 4000, "x.", "\u202egpj", "-y.mp4", "a:b", "file:///etc/passwd",
    "smb://h/x", "ftp://h/x", "gopher://h/x", "data:video/mp4;base64,AAAA", "concat:/a|/b", "subfile,,start,0,end,9,,:/x", "pipe:0",
    "unix:/x", "libx264 -vf movie=/etc/passwd", "FFREPORT=file=/tmp/x", "tee:/etc/x", "/etc/passwd\0.mp4",
)  # fmt: skip
RUNG = {"codec": "h264", "height": 72}
FILM = Probe(
    formats=("matroska",),
    duration=Fraction(2),
    video=(
        VideoStream(index=0, codec="h264", width=128, height=72, frame_rate=Fraction(25), frames=50, end=Fraction(2)),
    ),
    audio=(AudioStream(index=1, codec="aac", sample_rate=48_000, channels=2, packets=94, end=Fraction(2)),),
    subtitles=(SubtitleStream(index=2, codec="subrip", is_text=True),),
)


def bodies(value: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """A job with the value in each place that takes text."""
    film: dict[str, Any] = {"input": "/media/film.mp4", "output": "/media/out"}
    for field in ("input", "output", "profile", "scenario", "tenant", "engine", "queue", "priority", "classification"):
        yield field, {**film, field: value}
    yield "file", {**film, "input": f"/media/{value}"}
    yield "folder", {**film, "output": f"/media/{value}"}
    yield "label", {**film, "labels": {"a": value}}
    yield "name of a label", {**film, "labels": {value: "a"}}
    for name in ("codec", "preset", "bitrate", "fps", "chunks", value):
        yield f"parameter {name[:20]}", {**film, "parameters": {name: value}}
    for place in ({"name": value}, {"description": value}, {"subtitles": value}, {value: 1}, {"packaging": value}):
        yield (
            "profile",
            {**film, "profile": {"name": "p", "packaging": "mp4", "renditions": [{"video": RUNG}], **place}},
        )
    for rendition in (
        {"name": value, "video": RUNG},
        {"video": {**RUNG, "preset": value}},
        {"video": {**RUNG, "codec": value}},
    ):
        yield "rendition", {**film, "profile": {"name": "p", "packaging": "mp4", "renditions": [rendition]}}


INERT = {"file", "folder", "label", "name of a label", "profile", "rendition", "tenant"}
"""What takes text of one's own; everything else is a word of a list, or a number."""
PARTS = 6


@pytest.mark.parametrize("part", range(PARTS))
@on_master
async def test_every_text_of_a_job_is_refused_or_inert(rig: Rig, part: int) -> None:
    for value in VALUES[part::PARTS]:
        for where, body in bodies(value):
            content = json.dumps(body)
            answer = await rig.call("POST", "/v1/jobs", content=content, headers={"content-type": "application/json"})
            assert answer.status_code in (201, 400, 422), (where, value, answer.text)
            if answer.status_code == 201:
                assert where in INERT, value
                # One element is the input's name; the rest is that of a job without a word of a stranger's.
                assert lists(body) == lists({"input": "/media/film.mp4"}), (where, value)


def lists(job: dict[str, Any]) -> list[tuple[str, ...]]:
    """The argument lists of a job, with one name for every input."""
    document = job.get("profile", {"name": "p", "packaging": "mp4", "renditions": [{"video": RUNG}]})
    wanted = plan(profile_from(document), FILM, parameters=job.get("parameters", {}))
    engine, source = FFmpeg("ffmpeg"), Path(job["input"])
    commands = (engine.probe(source), *engine.encode(wanted, source, Path("/scratch/out"), Path("/scratch/work")))
    return [tuple("THE INPUT" if part == f"file:{source}" else part for part in one.argv) for one in commands]


WORDS = "a',movie=/etc/passwd,[x];$(id)`id` -attach /etc/passwd\n"


def test_no_text_of_a_film_is_in_any_argument_list() -> None:
    """A film whose every text is hostile gives the lists of one that has none."""
    (video,), (audio,), (subtitles,) = FILM.video, FILM.audio, FILM.subtitles
    hostile = replace(
        FILM,
        video=(
            replace(
                video,
                profile=WORDS,
                pix_fmt=WORDS,
                color=Color(range=WORDS, space=WORDS, transfer=WORDS, primaries=WORDS),
            ),
        ),
        audio=(replace(audio, codec=WORDS, layout=WORDS),),
        subtitles=(replace(subtitles, codec=WORDS),),
    )
    for packaging in ("mp4", "mkv", "cmaf", "hls", "thumbnails"):
        document: dict[str, Any] = {"name": "p", "packaging": packaging}
        if packaging != "thumbnails":
            document |= {
                "renditions": [{"video": RUNG}],
                "audio": [{"codec": "aac"}],
                "subtitles": "convert",
                "metadata": "keep",
            }
        made = []
        for probe in (FILM, hostile):
            wanted = plan(profile_from(document), probe)
            made.append([one.argv for one in FFmpeg("ffmpeg").encode(wanted, Path("/f.mkv"), Path("/o"), Path("/w"))])
        assert made[0] == made[1]


@pytest.mark.parametrize("value", VALUES)
def test_parameters_are_words_of_a_list_or_numbers(value: str) -> None:
    profile = profile_from({"name": "p", "packaging": "mp4", "renditions": [{"video": RUNG}]})
    for name in ("codec", "preset", "bitrate", "maxrate", "fps", "height", "crf", "vmaf", "chunks", "duration_s"):
        with pytest.raises((Refused, ProfileError)):
            plan(profile, FILM, parameters={name: value})


SET = {
    "FFREPORT": "file=/tmp/x",
    "LD_PRELOAD": "/x.so",
    "AV_LOG_FORCE_COLOR": "1",
    "HTTP_PROXY": "http://x",
    "SECRET": "the-secret",
}


def test_an_engine_has_an_environment_from_scratch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SET.items():
        monkeypatch.setenv(name, value)
    clock = SystemClock()
    engines = Engines(clock=clock, alive=EnginesAlive(tmp_path / "engines"))
    command = Command(argv=("/usr/bin/env",), label="look")
    said = asyncio.run(collect(command, engines=engines, control=Control(clock), log=Notes(clock), folder=tmp_path))
    assert {line.partition("=")[0] for line in said.stdout.splitlines()} == {
        "PATH",
        "LC_ALL",
        "TMPDIR",
        "MILLRACE_CHILD",
    }
