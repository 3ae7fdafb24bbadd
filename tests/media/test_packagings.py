"""Every packaging and codec, the generated clip, thumbnails, encoder proofs."""

from typing import Any

import pytest

from millrace.domain.media.plan import plan
from millrace.domain.media.profile_document import profile_from
from millrace.domain.sessions import family_of
from millrace.engines.engine import share_done
from millrace.engines.ffmpeg.encoders import ALL
from millrace.engines.profiles import named

VIDEO = {
    "h264": {"codec": "h264", "preset": "medium", "height": 72},
    "h265": {"codec": "h265", "preset": "ultrafast", "height": 72},
    "av1": {"codec": "av1", "preset": 11, "height": 72},
    "vp9": {"codec": "vp9", "preset": 8, "height": 72},
}


@pytest.mark.parametrize(
    ("packaging", "video", "audio"),
    [
        ("cmaf", "h264", "aac"), ("cmaf", "h265", "aac"), ("cmaf", "av1", "aac"), ("hls", "h264", "aac"),
        ("mp4", "h265", "aac"), ("mp4", "vp9", "flac"), ("mp4", "h264", "mp3"), ("mkv", "h264", "opus"),
        ("webm", "vp9", "opus"), ("webm", "av1", "opus"),
        ("m4a", None, "aac"), ("mp3", None, "mp3"), ("ogg", None, "opus"), ("flac", None, "flac"),
    ],
)  # fmt: skip
def test_each_packaging_is_proven(
    bench: Any, clips: Any, tmp_path: Any, packaging: str, video: str | None, audio: str
) -> None:
    document = {"name": "test", "packaging": packaging, "segment_s": 1, "audio": [{"codec": audio}]}
    if video:
        document["renditions"] = [{"video": VIDEO[video]}]
    made = bench.make(profile_from(document), clips("plain.mp4"), tmp_path)
    assert made.findings == ()


def test_codecs_are_named_for_players(bench: Any, clips: Any, tmp_path: Any) -> None:
    names = {}
    for codec in ("h264", "h265", "av1"):
        document = {
            "name": "t",
            "packaging": "cmaf",
            "renditions": [{"video": VIDEO[codec]}],
            "audio": [{"codec": "aac"}],
        }
        master = (
            bench.make(profile_from(document), clips("plain.mp4"), tmp_path / codec).finished["master.m3u8"].decode()
        )
        names[codec] = master.partition('CODECS="')[2].partition('"')[0]
    assert names["h264"].startswith("avc1.6400")
    assert names["h265"].startswith("hvc1.1.6.L")
    assert names["av1"].startswith("av01.0.0")
    assert all(name.endswith(",mp4a.40.2") for name in names.values())


def test_a_generated_clip_has_the_scenarios_size_rate_and_length(bench: Any, tmp_path: Any) -> None:
    made = bench.make(named("360p24-h264"), None, tmp_path, duration_s=0.5, preset="ultrafast")
    assert made.findings == ()
    video = made.produced.probes["video.mp4"].video[0]
    assert (video.width, video.height, video.frame_rate, video.frames) == (640, 360, 24, 12)
    assert len(made.produced.probes["video.mp4"].audio) == 1


def test_thumbnails_show_what_their_cues_say(bench: Any, clips: Any, tmp_path: Any) -> None:
    document = {
        "name": "t",
        "packaging": "thumbnails",
        "thumbnails": {"interval_s": 0.5, "width": 64, "columns": 2, "rows": 2},
    }
    made = bench.make(profile_from(document), clips("ntsc.mp4"), tmp_path)
    assert made.findings == ()
    assert sorted(path.name for path in tmp_path.glob("*.jpg")) == [
        "sprite-001.jpg",
        "sprite-002.jpg",
        "sprite-003.jpg",
    ]
    cues = made.finished["thumbnails.vtt"].decode()
    assert "00:00:02.500 --> 00:00:03.000\nsprite-002.jpg#xywh=64,0,64,36" in cues
    assert cues.count("-->") == 10
    assert "00:00:04.500 --> 00:00:05.005" in cues


@pytest.mark.parametrize("encoder", [name for name in ALL if family_of(name) is None])
def test_the_shipped_encoders_are_proven(bench: Any, encoder: str) -> None:
    assert bench.run(bench.engine.encoder_proof(encoder)).exit_status == 0


def test_an_encoder_that_is_not_there_is_not_proven(bench: Any) -> None:
    outcome = bench.run(bench.engine.encoder_proof("libnothing"))
    assert outcome.exit_status != 0
    assert bench.engine.failure(outcome.exit_status, outcome.stderr, signalled=False).failure_class == "capability"


def test_progress_is_read_while_it_runs(bench: Any, clips: Any, tmp_path: Any) -> None:
    wanted = plan(named("mp4-h264"), bench.probe(clips("ntsc.mp4")))
    (command,) = bench.engine.encode(wanted, clips("ntsc.mp4"), tmp_path, tmp_path / "pieces")
    reader = bench.engine.progress()
    reports = [report for line in bench.run(command).stdout.splitlines() if (report := reader.feed(line))]
    assert reports[-1].ended
    assert reports[-1].frame == wanted.frames == 150
    assert [share_done(report, command) for report in reports][-1] == 1.0
