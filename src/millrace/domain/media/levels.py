"""What a level of H.264 and H.265 holds: how large pictures may be, how many of them in a second, and how many bits. Pure.

A decoder promises a level, so a stream that says a level and needs more is refused before it is made.
"""

from fractions import Fraction

from msgspec import Struct

from millrace.domain.media.ladder import Size
from millrace.domain.media.profile import VideoCodec, VideoSettings


class Level(Struct, frozen=True):
    """Luma samples of a picture and in a second, and the highest rate and the buffer of a decoder in bits, for 8 and 10 bits a sample."""

    picture: int
    per_second: int
    bits_per_second: int
    buffer_bits: int

    @property
    def side(self) -> int:
        """Pixels that a side may have: the square root of eight times the picture (both standards)."""
        return int((8 * self.picture) ** 0.5)


def _h264(blocks_s: int, blocks: int, rate: int, buffer: int) -> Level:
    # Blocks of 16x16; the High profile has 1250 bits where the table counts one (A.3.3).
    return Level(blocks * 256, blocks_s * 256, rate * 1250, buffer * 1250)


def _h265(picture: int, per_second: int, rate: int, buffer: int) -> Level:
    return Level(picture, per_second, rate * 1000, buffer * 1000)


LEVELS: dict[VideoCodec, dict[str, Level]] = {
    # ITU-T H.264 (08/2021), table A-1
    VideoCodec.H264: {
        "1": _h264(1485, 99, 64, 175), "1.1": _h264(3000, 396, 192, 500), "1.2": _h264(6000, 396, 384, 1000),
        "1.3": _h264(11880, 396, 768, 2000), "2": _h264(11880, 396, 2000, 2000), "2.1": _h264(19800, 792, 4000, 4000),
        "2.2": _h264(20250, 1620, 4000, 4000), "3": _h264(40500, 1620, 10000, 10000), "3.1": _h264(108000, 3600, 14000, 14000),
        "3.2": _h264(216000, 5120, 20000, 20000), "4": _h264(245760, 8192, 20000, 25000), "4.1": _h264(245760, 8192, 50000, 62500),
        "4.2": _h264(522240, 8704, 50000, 62500), "5": _h264(589824, 22080, 135000, 135000),
        "5.1": _h264(983040, 36864, 240000, 240000), "5.2": _h264(2073600, 36864, 240000, 240000),
        "6": _h264(4177920, 139264, 240000, 240000), "6.1": _h264(8355840, 139264, 480000, 480000),
        "6.2": _h264(16711680, 139264, 800000, 800000),
    },
    # ITU-T H.265 (08/2021), tables A.8 and A.9, Main tier
    VideoCodec.H265: {
        "1": _h265(36864, 552960, 128, 350), "2": _h265(122880, 3686400, 1500, 1500), "2.1": _h265(245760, 7372800, 3000, 3000),
        "3": _h265(552960, 16588800, 6000, 6000), "3.1": _h265(983040, 33177600, 10000, 10000),
        "4": _h265(2228224, 66846720, 12000, 12000), "4.1": _h265(2228224, 133693440, 20000, 20000),
        "5": _h265(8912896, 267386880, 25000, 25000), "5.1": _h265(8912896, 534773760, 40000, 40000),
        "5.2": _h265(8912896, 1069547520, 60000, 60000), "6": _h265(35651584, 1069547520, 60000, 60000),
        "6.1": _h265(35651584, 2139095040, 120000, 120000), "6.2": _h265(35651584, 4278190080, 240000, 240000),
    },
}  # fmt: skip
USUAL_SHAPE = Fraction(16, 9)


def level_of(settings: VideoSettings) -> Level | None:
    """What a rendition has to stay within; None where it names no level."""
    return None if settings.level is None else LEVELS[settings.codec][settings.level]


def beyond_level(settings: VideoSettings, size: Size, rate: Fraction | None) -> str | None:
    """What of a picture of that size, `rate` times a second (None: not known yet), no level or not the named one holds; None for nothing."""
    levels = LEVELS.get(settings.codec)
    if levels is None:
        return None
    name = settings.level or list(levels)[-1]
    level, what = levels[name], f"level {name} of {settings.codec}"
    samples = _coded(size, settings.codec)
    if samples > level.picture or max(size.width, size.height) > level.side:
        return f"{size.width}x{size.height} pixels, and {what} holds {level.picture} in all and {level.side} to a side"
    if rate is not None and samples * rate > level.per_second:
        most = float(Fraction(level.per_second, samples))
        return f"{float(rate):.6g} frames of {size.width}x{size.height} a second, and {what} holds {most:.4g}"
    return None


def bits_beyond_level(settings: VideoSettings) -> str | None:
    """What of the bit rate the named level does not hold; None for nothing."""
    level, asked = level_of(settings), settings.maxrate_bps or settings.bitrate_bps
    if level is None or asked is None or asked <= level.bits_per_second:
        return None
    return f"is {asked}, and level {settings.level} of {settings.codec} holds {level.bits_per_second} bits per second"


def rung(height: int) -> Size:
    """The pictures of a film of the usual shape on a rung with so many lines."""
    return Size(width=int(height * USUAL_SHAPE), height=height)


def _coded(size: Size, codec: VideoCodec) -> int:
    """Luma samples that are coded: H.264 counts whole blocks."""
    if codec is VideoCodec.H264:
        return -(-size.width // 16) * -(-size.height // 16) * 256
    return size.width * size.height
