"""Scenario names such as `1080p30-h264` as profiles by their parts."""

import re
from fractions import Fraction

from millrace.domain.media.profile import (
    DEFAULT_CRF,
    DEFAULT_PRESET,
    AudioCodec,
    AudioSettings,
    Generate,
    Packaging,
    Profile,
    Rendition,
    VideoCodec,
    VideoSettings,
)

PATTERN = re.compile(r"(?:(\d{3,4})p|(2k|4k|8k))(\d{1,3})-(h264|h265|hevc|av1|vp9)\Z", re.IGNORECASE)
FORM = "HEIGHTpFPS-CODEC, such as 1080p30-h264, 4K60-h265 or 720p60-vp9"
HEIGHTS = {"2k": 1440, "4k": 2160, "8k": 4320}
LOWEST, HIGHEST = 144, 4320
FASTEST = 120


def scenario(name: str) -> Profile | None:
    """The profile that a scenario name stands for; None when the text is no such name or asks for absurd numbers."""
    match = PATTERN.match(name)
    if match is None:
        return None
    height = int(match[1]) if match[1] else HEIGHTS[match[2].lower()]
    rate = int(match[3])
    if not (LOWEST <= height <= HIGHEST and 1 <= rate <= FASTEST and height % 2 == 0):
        return None
    codec = VideoCodec({"hevc": "h265"}.get(match[4].lower(), match[4].lower()))
    in_webm = codec is VideoCodec.VP9
    video = VideoSettings(
        codec=codec, height=height, preset=DEFAULT_PRESET[codec], crf=DEFAULT_CRF[codec], fps=Fraction(rate)
    )
    return Profile(
        name=name,
        description=f"{height} lines at up to {rate} frames per second in {codec}",
        packaging=Packaging.WEBM if in_webm else Packaging.MP4,
        renditions=(Rendition(name=f"{height}p", video=video),),
        audio=(AudioSettings(codec=AudioCodec.OPUS if in_webm else AudioCodec.AAC),),
        generate=Generate(
            width=int(Fraction(height * 16, 9) / 2 + Fraction(1, 2)) * 2, height=height, rate=Fraction(rate)
        ),
    )
