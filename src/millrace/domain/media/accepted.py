"""How large, how long and how full an input may be. One place for the numbers; who reads it enforces them as far as it can see.

A film that breaks one is refused before anything is decoded. They lie where no film that people watch comes near, and where what
a few bytes can ask of a machine still ends.
"""

from fractions import Fraction

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.probe import AudioStream, Probe, VideoStream

MOST_PIXELS = 8192 * 4320
"""8K: no level of H.264, H.265, VP9 or AV1 holds larger pictures."""
MOST_SIDE = 16384
"""Pixels; encoders take no more."""
MOST_STREAMS = 200
"""With fonts and covers. A whole DVB multiplex has about a hundred."""
MOST_CHANNELS = 64
MOST_SAMPLE_RATE = 768_000
"""Hertz. A resampler's filter grows with the ratio of rates."""
LONGEST_S = 48 * 3600
FRAMES_FREE, FRAMES_EACH = 100_000, 3_000
"""Frames that may be made of nothing, and of each of the input's: what stands still for long is legitimate, two frames that are
years apart are not."""
SOUND_FREE_S, SOUND_EACH_S = 4 * 3600, 60
"""The same for seconds of sound, by the input's packets: holes are filled with silence."""


def accept(probe: Probe) -> None:
    """Pass. Raises Refused, class input, with what is too much and how much may be."""
    count = len(probe.video) + len(probe.audio) + len(probe.subtitles)
    if count > MOST_STREAMS:
        raise _refused(f"has {count} streams; at most {MOST_STREAMS} are taken")
    if probe.duration > LONGEST_S:
        raise _refused(f"lasts {_hours(probe.duration)} hours; at most {LONGEST_S // 3600} are taken")
    for picture in probe.pictures:
        _accept_picture(picture)
    for sound in probe.audio:
        _accept_sound(sound)


def accept_filling(frames: int, stream: VideoStream) -> None:
    """Pass, where a constant rate makes so many frames of a stream's. Raises Refused."""
    most = FRAMES_FREE + FRAMES_EACH * stream.frames
    if frames > most:
        raise _refused(
            f"has gaps: its {stream.frames} frames would have to be shown as {frames}; at most {most} are made of so few"
        )


def too_large(wide: int, high: int, what: str = "holds") -> str | None:
    """What is wrong with pictures of this size; None where nothing is."""
    if wide * high <= MOST_PIXELS and max(wide, high) <= MOST_SIDE:
        return None
    return f"{what} pictures of {wide}x{high}; at most {MOST_PIXELS / 1e6:.1f} million pixels and {MOST_SIDE} to a side are taken"


def _accept_picture(stream: VideoStream) -> None:
    # As it is stored, which is decoded, and as it is shown, which is encoded: pixels may be of any shape.
    wide, high = (int(side) for side in stream.display_size)
    fault = too_large(stream.width, stream.height) or too_large(wide, high, "is to be shown as")
    if fault is not None:
        raise _refused(fault)


def _accept_sound(stream: AudioStream) -> None:
    if stream.channels > MOST_CHANNELS:
        raise _refused(f"has sound of {stream.channels} channels; at most {MOST_CHANNELS} are taken")
    if stream.sample_rate > MOST_SAMPLE_RATE:
        raise _refused(f"has sound of {stream.sample_rate} Hz; at most {MOST_SAMPLE_RATE} are taken")
    if stream.duration > SOUND_FREE_S + SOUND_EACH_S * stream.packets:
        raise _refused(f"has gaps: its sound of {stream.packets} packets would last {_hours(stream.duration)} hours")


def _hours(seconds: Fraction) -> str:
    return f"{float(seconds) / 3600:,.1f}"


def _refused(text: str) -> Refused:
    return Refused(FailureClass.INPUT, f"The input {text}.")
