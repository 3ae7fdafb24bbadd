"""Just enough of Matroska, AVI, PNG, GIF and WAV to write what no honest program would."""

import struct
import zlib
from collections.abc import Iterable, Sequence

VIDEO, AUDIO, SUBTITLES = 1, 2, 17


# Matroska (RFC 9559) ------------------------------------------------------------------------------------------------------


def element(number: int, *content: bytes) -> bytes:
    """One EBML element; its length takes eight bytes."""
    body = b"".join(content)
    return number.to_bytes((number.bit_length() + 7) // 8, "big") + (1 << 56 | len(body)).to_bytes(8, "big") + body


def whole(number: int, value: int) -> bytes:
    return element(number, value.to_bytes(8, "big"))


def real(number: int, value: float) -> bytes:
    return element(number, struct.pack(">d", value))


def track(number: int, kind: int, codec: str, *details: bytes) -> bytes:
    return element(
        0xAE, whole(0xD7, number), whole(0x73C5, number), whole(0x83, kind), element(0x86, codec.encode()), *details
    )


def picture_track(
    number: int, wide: int, high: int, *, fourcc: bytes = b"", display: tuple[int, int] | None = None
) -> bytes:
    """A track of motion JPEG, or of whatever a FOURCC stands for."""
    beat = whole(0x23E383, 40_000_000)
    shown = [whole(0x54B0, display[0]), whole(0x54BA, display[1])] if display else []
    size = element(0xE0, whole(0xB0, wide), whole(0xBA, high), *shown)
    if not fourcc:
        return track(number, VIDEO, "V_MJPEG", beat, size)
    private = struct.pack("<IiiHH4sIiiII", 40, wide, high, 1, 24, fourcc, 0, 0, 0, 0, 0)
    return track(number, VIDEO, "V_MS/VFW/FOURCC", beat, element(0x63A2, private), size)


def sound_track(number: int, rate: float, channels: int = 1, codec: str = "A_PCM/INT/LIT") -> bytes:
    return track(number, AUDIO, codec, element(0xE1, real(0xB5, rate), whole(0x9F, channels), whole(0x6264, 16)))


def compressed(track_element: bytes) -> bytes:
    """The same track, its blocks compressed with zlib."""
    how = element(0x6D80, element(0x6240, element(0x5034, whole(0x4254, 0))))
    return element(0xAE, track_element[9:], how)


def block(number: int, at_ms: int, data: bytes) -> bytes:
    """A cluster of one block."""
    return element(0x1F43B675, whole(0xE7, at_ms), element(0xA3, bytes([0x80 | number, 0, 0, 0x80]), data))


def tag(name: bytes, value: bytes) -> bytes:
    return element(
        0x1254C367, element(0x7373, element(0x63C0), element(0x67C8, element(0x45A3, name), element(0x4487, value)))
    )


def chapters(count: int, name: bytes = b"x") -> bytes:
    atoms = (
        element(
            0xB6,
            whole(0x73C4, at + 1),
            whole(0x91, at * 1000),
            element(0x80, element(0x85, name), element(0x437C, b"eng")),
        )
        for at in range(count)
    )
    return element(0x1043A770, element(0x45B9, *atoms))


def attachment(number: int, name: str, kind: str, data: bytes) -> bytes:
    return element(
        0x61A7,
        element(0x466E, name.encode()),
        element(0x4660, kind.encode()),
        element(0x465C, data),
        whole(0x46AE, number + 1),
    )


def matroska(tracks: Iterable[bytes], *rest: bytes, length_ms: float | None = None) -> bytes:
    """A whole file: `rest` are clusters, tags, chapters and attachments."""
    head = element(
        0x1A45DFA3, whole(0x4286, 1), whole(0x42F7, 1), whole(0x42F2, 4), whole(0x42F3, 8), element(0x4282, b"matroska"),
        whole(0x4287, 4), whole(0x4285, 2),
    )  # fmt: skip
    length = [] if length_ms is None else [real(0x4489, length_ms)]
    info = element(0x1549A966, whole(0x2AD7B1, 1_000_000), element(0x4D80, b"x"), element(0x5741, b"x"), *length)
    return head + element(0x18538067, info, element(0x1654AE6B, *tracks), *rest)


def slides(
    jpeg: bytes, times_ms: Sequence[int], *rest: bytes, size: tuple[int, int] = (64, 64), length_ms: float | None = None
) -> bytes:
    """A film of one picture, shown at these times."""
    return matroska([picture_track(1, *size)], *rest, *(block(1, at, jpeg) for at in times_ms), length_ms=length_ms)


# Others -------------------------------------------------------------------------------------------------------------------


def png(wide: int, high: int, *, bits: int = 1) -> bytes:
    """A grey picture of nothing but zeros."""
    packed = zlib.compressobj(9)
    row = bytes(1 + (wide * bits + 7) // 8)
    data = b"".join(packed.compress(row) for _ in range(high)) + packed.flush()

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", wide, high, bits, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def gif(frames: int, wide: int = 64, high: int = 64) -> bytes:
    """Many frames of one pixel each, a hundredth of a second apart."""
    head = b"GIF89a" + struct.pack("<HHBBB", wide, high, 0x80, 0, 0) + b"\0\0\0\xff\xff\xff"
    frame = b"!\xf9\x04\0\x01\0\0\0" + b"," + struct.pack("<HHHHB", 0, 0, 1, 1, 0) + b"\x02\x02D\x01\0"
    return head + frame * frames + b";"


def jpeg_of(jpeg: bytes, wide: int, high: int) -> bytes:
    """The same picture, which says that it has another size."""
    at = jpeg.index(b"\xff\xc0")
    return jpeg[: at + 5] + struct.pack(">HH", high, wide) + jpeg[at + 9 :]


def wav(rate: int, channels: int, data_bytes: int, data: bytes = b"") -> bytes:
    """A header that promises `data_bytes`."""
    head = struct.pack("<HHIIHH", 1, channels, rate, (rate * channels * 2) & 0xFFFFFFFF, (channels * 2) & 0xFFFF, 16)
    return (
        b"RIFF"
        + struct.pack("<I", min(36 + data_bytes, 0xFFFFFFFF))
        + b"WAVEfmt "
        + struct.pack("<I", 16)
        + head
        + (b"data" + struct.pack("<I", min(data_bytes, 0xFFFFFFFF)) + data)
    )


def riff(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def avi_with_subtitle(jpeg: bytes, subtitle: bytes, frames: int = 10) -> bytes:
    """Motion JPEG of 64x64, and a text stream of one GAB2 chunk, in which FFmpeg looks for another file."""
    main = struct.pack("<14I", 40_000, 0, 0, 0x10, frames, 0, 2, 0, 64, 64, 0, 0, 0, 0)
    pictures = struct.pack("<4s4sIHHIIIIIIII4H", b"vids", b"MJPG", 0, 0, 0, 0, 1, 25, 0, frames, 0, 0, 0, 0, 0, 64, 64)
    form = struct.pack("<IiiHH4sIiiII", 40, 64, 64, 1, 24, b"MJPG", 0, 0, 0, 0, 0)
    text = struct.pack("<4s4sIHHIIIIIIII4H", b"txts", b"\0\0\0\0", 0, 0, 0, 0, 1, 25, 0, 1, 0, 0, 0, 0, 0, 0, 0)
    streams = (
        riff(b"LIST", b"strl", riff(b"strh", pictures), riff(b"strf", form)),
        riff(b"LIST", b"strl", riff(b"strh", text), riff(b"strf", b"")),
    )
    gab2 = (
        b"GAB2\0"
        + struct.pack("<HI", 2, 4)
        + "x\0".encode("utf-16-le")
        + struct.pack("<HI", 4, len(subtitle))
        + subtitle
    )
    movie = riff(b"LIST", b"movi", riff(b"01tx", gab2), *(riff(b"00dc", jpeg) for _ in range(frames)))
    return riff(b"RIFF", b"AVI ", riff(b"LIST", b"hdrl", riff(b"avih", main), *streams), movie)
