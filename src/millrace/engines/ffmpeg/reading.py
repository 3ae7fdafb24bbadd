"""The options with which FFmpeg reads: nothing but plain local files, of formats and codecs that hold real media, within bounds.

The one place for what may be read. Every command begins with `guarded`, and every input of one is named by `source`, `playlist`,
`picture`, `letters` or `generated`; a test counts them.
"""

from pathlib import Path

from millrace.domain.media.accepted import MOST_PIXELS, MOST_STREAMS

PROTOCOLS = ("file",)
FORMATS = (
    "mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "mpegts", "mpeg", "flv", "avi", "asf", "mxf", "ogg", "nut", "ivf",
    "gif", "wav", "w64", "mp3", "aac", "flac", "ac3", "eac3", "aiff", "caf", "dv", "y4m", "yuv4mpegpipe",
)  # fmt: skip
"""Demuxers for sources. Left out on purpose: playlists and scripts that open other files (hls, dash, concat, imf),
devices and generators (lavfi), and elementary streams that match random bytes (h263, mpegvideo, tty)."""
CODECS = frozenset({
    # pictures
    "h264", "hevc", "vvc", "av1", "vp8", "vp9", "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "h263", "flv1",
    "vp6", "vp6a", "vp6f", "wmv1", "wmv2", "wmv3", "vc1", "theora", "mjpeg", "prores", "dnxhd", "cfhd", "jpeg2000", "dvvideo",
    "ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo", "v210", "r210", "apv", "gif", "png", "bmp", "qtrle",
    # sound
    "aac", "aac_latm", "mp1", "mp2", "mp3", "ac3", "eac3", "dts", "truehd", "mlp", "opus", "vorbis", "flac", "alac", "wavpack", "wmav1",
    "wmav2", "wmapro", "amr_nb", "amr_wb", "gsm", "gsm_ms", "dvaudio", "adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "adpcm_swf", "nellymoser",
    "speex", "s302m", "pcm_alaw", "pcm_mulaw", "pcm_s8", "pcm_u8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be",
    "pcm_s32le", "pcm_s32be", "pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be", "pcm_dvd", "pcm_bluray",
    # text and its pictures
    "subrip", "ass", "webvtt", "mov_text", "text", "eia_608", "dvb_subtitle", "dvd_subtitle", "hdmv_pgs_subtitle",
})  # fmt: skip
"""Codecs of sources. Left out are those that no camera and no editor makes any more, among them most of the decoders in which
memory was corrupted (magicyuv: CVE-2026-8461), and those that read other files (svg)."""
_DECODERS = {
    "av1": ("libdav1d", "libaom-av1", "av1"), "vp8": ("vp8", "libvpx"), "vp9": ("vp9", "libvpx-vp9"), "msmpeg4v3": ("msmpeg4",),
    "flv1": ("flv",), "mp1": ("mp1float", "mp1"), "mp2": ("mp2float", "mp2"), "mp3": ("mp3float", "mp3"), "dts": ("dca",),
    "opus": ("opus", "libopus"), "vorbis": ("vorbis", "libvorbis"), "amr_nb": ("amrnb", "libopencore_amrnb"),
    "amr_wb": ("amrwb", "libopencore_amrwb"), "subrip": ("subrip", "srt"), "ass": ("ass", "ssa"), "dvb_subtitle": ("dvbsub",),
    "dvd_subtitle": ("dvdsub",), "eia_608": ("cc_dec",), "hdmv_pgs_subtitle": ("pgssub",),
}  # fmt: skip
"""FFmpeg's names of the decoders, where they are not those of the codec."""
MOST_ALLOC_BYTES = 512 << 20
"""One block of memory: the largest picture that is accepted takes 425 MB as floating numbers, for tone mapping."""
PROBE_MEMORY_BYTES = 256 << 20
"""All of the memory of a command that decodes nothing. 8K films are described within 64 MB (measured on 9.0.2)."""

LETTER_WIDTH, LETTER_HEIGHT = 8, 16
"""Pixels of a letter of FFmpeg's own (libavcodec/ansi.c)."""

_LISTS = "hls,mov,mp4,m4a,3gp,3g2,mj2,mpegts"


def guarded(binary: Path | str) -> tuple[str, ...]:
    """How every command begins: it never reads the keyboard, says no more than needed, and takes no huge block of memory."""
    return (str(binary), "-nostdin", "-hide_banner", "-nostats", "-max_alloc", str(MOST_ALLOC_BYTES))


def source(path: Path | str) -> tuple[str, ...]:
    """Input options for an untrusted local file. `file:` makes names that begin with `-` or hold `:` harmless."""
    return (*_within(",".join(FORMATS)), "-i", f"file:{path}")


def playlist(path: str) -> tuple[str, ...]:
    """Input options for a playlist that Millrace itself made."""
    return (*_within(_LISTS), "-f", "hls", "-i", f"file:{path}")


def picture(path: str) -> tuple[str, ...]:
    """Input options for a still picture that Millrace itself made; the name is taken literally."""
    return (*_within("image2"), "-f", "image2", "-pattern_type", "none", "-i", f"file:{path}")


def letters(path: str, columns: int) -> tuple[str, ...]:
    """Input options for a line of text that Millrace itself wrote, drawn in FFmpeg's own letters: no font has to be there."""
    return (
        *("-protocol_whitelist", ",".join(PROTOCOLS), "-format_whitelist", "tty", "-codec_whitelist", "ansi"),
        *("-f", "tty", "-video_size", f"{columns * LETTER_WIDTH}x{LETTER_HEIGHT}", "-i", f"file:{path}"),
    )


def generated(graph: str) -> tuple[str, ...]:
    """Input options for a clip that a graph of our own generates."""
    return ("-f", "lavfi", "-i", graph)


def _within(formats: str) -> tuple[str, ...]:
    decoders = sorted(name for codec in CODECS for name in _DECODERS.get(codec, (codec,)))
    return (
        *("-protocol_whitelist", ",".join(PROTOCOLS), "-format_whitelist", formats),
        *("-codec_whitelist", ",".join(decoders)),
        *("-max_pixels", str(MOST_PIXELS), "-max_streams", str(MOST_STREAMS)),
    )
