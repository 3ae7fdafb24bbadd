"""The CODECS string of H.264 in MPEG-TS, read from the first parameter set in the bytes of a segment."""

START = b"\x00\x00\x01"
SPS = 7


def h264_codecs_string(segment: bytes) -> str:
    """`avc1.PPCCLL` (RFC 6381 3.3) from the first sequence parameter set after a start code.

    Raises:
        ValueError: there is none.
    """
    position = segment.find(START)
    while position >= 0:
        header = segment[position + 3 : position + 7]
        if len(header) == 4 and header[0] & 0x1F == SPS and header[0] & 0x80 == 0 and header[0] & 0x60:
            return f"avc1.{header[1:4].hex()}"
        position = segment.find(START, position + 3)
    raise ValueError("cannot tell the codec of a segment without an H.264 parameter set")
