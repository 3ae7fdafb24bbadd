"""How a plan changes where its source is damaged: fewer frames and less sound where damage is cut out. Pure."""

from collections.abc import Sequence

from msgspec.structs import replace

from millrace.domain.media.damage import Damage, Mending, OnDamage, mending
from millrace.domain.media.outputs import AudioOutput, Pictures, SubtitleOutput


def mended(
    on_damage: OnDamage, damage: Damage, pictures: Pictures | None, audio: Sequence[AudioOutput], notes: list[str]
) -> Mending:
    """What is made of the damage in what the plan uses of its source; told in `notes`. Raises Refused, as `mending`."""
    streams = {one.stream for one in audio} | ({pictures.stream} if pictures else set())
    length = pictures.frames / pictures.rate if pictures else max(one.duration for one in audio)
    found = mending(on_damage, damage, streams=streams, length=length, rate=pictures.rate if pictures else None)
    notes.append(found.note)
    return found


def without_cuts(found: Mending, pictures: Pictures | None) -> Pictures | None:
    """The pictures that are left."""
    if pictures is None or not found.cuts:
        return pictures
    return replace(pictures, frames=int(found.kept(pictures.frames / pictures.rate) * pictures.rate))


def shortened(found: Mending, audio: Sequence[AudioOutput]) -> tuple[AudioOutput, ...]:
    """The sound that is left."""
    return tuple(replace(one, duration=found.kept(one.duration)) for one in audio)


def without_text(
    found: Mending | None, subtitles: Sequence[SubtitleOutput], notes: list[str]
) -> tuple[SubtitleOutput, ...]:
    """No subtitles where something is cut out: their times are those of the whole film."""
    if found is None or not found.cuts or not subtitles:
        return tuple(subtitles)
    notes.append("Subtitles are left out, because they would not fit the pictures behind a cut.")
    return ()


def without_chapters(found: Mending | None, chapters: int, notes: list[str]) -> int:
    """The same for chapters."""
    if found is None or not found.cuts or not chapters:
        return chapters
    notes.append("Chapters are left out, because they would not fit the pictures behind a cut.")
    return 0
