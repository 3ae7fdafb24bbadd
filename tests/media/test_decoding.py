"""A finished output decoded again, only to count: what it gives when it is sound, and when it is not."""

from pathlib import Path
from typing import Any

from conftest import BINARY, Bench

from millrace.domain.media.outputs import SAMPLE_RATE_HZ
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.proof_check import Decoded
from millrace.engines.ffmpeg.decoding import Count, decode_command


def _counted(bench: Bench, path: str, folder: Path) -> tuple[int, Decoded]:
    outcome = bench.run(decode_command(BINARY, path, folder))
    count = Count()
    for line in outcome.stdout.splitlines():
        count.feed(line)
    return outcome.exit_status, count.total(SAMPLE_RATE_HZ)


def test_what_a_decoder_gives_is_what_the_packets_say(bench: Bench, clips: Any, tmp_path: Path) -> None:
    rung = {"name": "one", "video": {"codec": "h264", "height": 36, "preset": "ultrafast"}}
    document = {"name": "t", "packaging": "cmaf", "renditions": [rung], "audio": [{"codec": "aac"}], "segment_s": 1}
    made = bench.make(profile_from(document), clips("plain.mp4"), tmp_path)
    status, pictures = _counted(bench, "one/index.m3u8", tmp_path)
    assert (status, pictures) == (0, Decoded(frames=50))
    status, sound = _counted(bench, "audio-0/index.m3u8", tmp_path)
    (packets,) = made.produced.probes["audio-0/index.m3u8"].audio
    assert (status, sound.frames) == (0, 0)
    assert abs(sound.samples[0] - packets.duration * SAMPLE_RATE_HZ) < 1024
    # Noise within the pictures: the packets are as many as before.
    segment = tmp_path / "one" / "seg-00001.m4s"
    data = bytearray(segment.read_bytes())
    data[-len(data) // 3 :] = bytes(len(data) // 3 + 1)
    segment.write_bytes(data)
    status, _ = _counted(bench, "one/index.m3u8", tmp_path)
    assert status != 0
