"""The options with which FFmpeg reads: nothing but plain local files of formats that hold real media."""

from pathlib import Path

FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "mpeg", "flv", "avi", "asf", "mxf", "ogg", "nut", "ivf",
    "gif", "wav", "w64", "mp3", "aac", "flac", "ac3", "eac3", "aiff", "caf", "dv", "y4m", "yuv4mpegpipe",
)  # fmt: skip
"""Demuxers for sources. Left out on purpose: playlists and scripts that open other files (hls, dash, concat, imf),
devices and generators (lavfi), and elementary streams that match random bytes (h263, mpegvideo, tty)."""


def guarded(binary: Path | str) -> tuple[str, ...]:
    """How every command begins: it never reads the keyboard, and says no more than needed."""
    return (str(binary), "-nostdin", "-hide_banner", "-nostats")


def source(path: Path | str) -> tuple[str, ...]:
    """Input options for an untrusted local file. `file:` makes names that begin with `-` or hold `:` harmless."""
    return ("-protocol_whitelist", "file", "-format_whitelist", ",".join(FORMATS), "-i", f"file:{path}")


def playlist(path: str) -> tuple[str, ...]:
    """Input options for a playlist that Millrace itself made."""
    return (
        "-protocol_whitelist",
        "file",
        "-format_whitelist",
        "hls,mov,mp4,m4a,3gp,3g2,mj2,mpegts",
        "-f",
        "hls",
        "-i",
        f"file:{path}",
    )


def picture(path: str) -> tuple[str, ...]:
    """Input options for a still picture that Millrace itself made; the name is taken literally."""
    return ("-protocol_whitelist", "file", "-f", "image2", "-pattern_type", "none", "-i", f"file:{path}")
