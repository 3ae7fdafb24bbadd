"""What a track is for, where it is not for everybody, and how players are told. Pure."""

from collections.abc import Iterable
from enum import StrEnum


class Purpose(StrEnum):
    """As people read it behind a track's language."""

    COMMENTARY = "commentary"
    DESCRIPTION = "audio description"
    HARD_OF_HEARING = "hard of hearing"


PURPOSES = {
    "comment": Purpose.COMMENTARY,
    "visual impaired": Purpose.DESCRIPTION,
    "descriptions": Purpose.DESCRIPTION,
    "hearing impaired": Purpose.HARD_OF_HEARING,
    "captions": Purpose.HARD_OF_HEARING,
}
"""By FFmpeg's names of dispositions."""
TEXT_CHARACTERISTICS = (
    "public.accessibility.transcribes-spoken-dialog",
    "public.accessibility.describes-music-and-sound",
)
SOUND_CHARACTERISTICS = {
    Purpose.DESCRIPTION: "public.accessibility.describes-video",
    Purpose.HARD_OF_HEARING: "public.accessibility.enhances-speech-intelligibility",
}
"""CHARACTERISTICS of HLS (draft-pantos-hls-rfc8216bis, 4.4.6.1)."""
AUDIO_PURPOSES = "urn:tva:metadata:cs:AudioPurposeCS:2007"
"""The scheme of TV-Anytime, by which DASH tells for whom a track is (DASH-IF IOP, 3.9.4.5)."""
ACCESSIBILITY = {Purpose.DESCRIPTION: "1", Purpose.HARD_OF_HEARING: "2"}


def purposes_of(dispositions: Iterable[str]) -> tuple[Purpose, ...]:
    """Those that the dispositions of a stream stand for."""
    return tuple(dict.fromkeys(PURPOSES[word] for word in dispositions if word in PURPOSES))


def words(purposes: Iterable[Purpose], *, forced: bool = False) -> str:
    """What stands behind the language of a track in a player's menu, with a space before it; empty for a plain one."""
    return "".join(f" ({word})" for word in (*purposes, *(("forced",) if forced else ())))


def text_characteristics(purposes: Iterable[Purpose]) -> str:
    """Of subtitles, with commas; empty for plain ones."""
    return ",".join(TEXT_CHARACTERISTICS) if Purpose.HARD_OF_HEARING in tuple(purposes) else ""


def sound_characteristics(purposes: Iterable[Purpose]) -> str:
    """Of sound, with commas; empty for plain sound."""
    return ",".join(SOUND_CHARACTERISTICS[one] for one in purposes if one in SOUND_CHARACTERISTICS)
