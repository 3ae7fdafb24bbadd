"""No graphics card is here: what can be seen is that the shipped FFmpeg knows every option of its encoders that is given to it."""

import re
import subprocess

import pytest
from conftest import BINARY

from millrace.domain.media.profile import RateMode, VideoSettings
from millrace.domain.sessions import family_of
from millrace.engines.ffmpeg import hardware
from millrace.engines.ffmpeg.encoders import VIDEO

GENERIC = {"-b:v", "-maxrate", "-bufsize", "-global_quality", "-flags"}
"""Options of every encoder (libavcodec/options_table.h)."""
OF_CARDS = [(codec, name) for codec, names in VIDEO.items() for name in names if family_of(name)]


@pytest.mark.parametrize(("codec", "encoder"), OF_CARDS, ids=str)
def test_ffmpeg_knows_the_options_of_its_encoder(codec: str, encoder: str) -> None:
    ways = [
        VideoSettings(codec=codec, crf=23.0), VideoSettings(codec=codec, crf=23.0, maxrate_bps=1_000_000),
        VideoSettings(codec=codec, bitrate_bps=1_000_000), VideoSettings(codec=codec, bitrate_bps=1_000_000, mode=RateMode.CBR),
    ]  # fmt: skip
    words = [word for way in ways for word in (*hardware.speed_and_rate(way, encoder), *hardware.closed(encoder))]
    given = {pair for pair in zip(words[::2], words[1::2], strict=True) if pair[0] not in GENERIC}
    assert given
    ask = [BINARY, "-nostdin", "-hide_banner", "-h", f"encoder={encoder}"]
    said = subprocess.run(ask, capture_output=True, text=True, check=True).stdout
    sections = re.findall(r"^ {2}(-[\w-]+) +<(\w+)>.*\n((?: {5}\w.*\n)*)", said, re.MULTILINE)
    known = {name: (kind, re.findall(r"^ {5}(\w+)", values, re.MULTILINE)) for name, kind, values in sections}
    for name, value in sorted(given):
        assert name in known, f"{encoder} has no {name}"
        kind, values = known[name]
        assert re.fullmatch(r"[\d.]+", value) or value in values, f"{encoder} has no {name} {value} ({kind}): {values}"
