"""WebVTT for thumbnails: each cue names a rectangle of a sprite (Media Fragments `#xywh=`), as players expect."""

from fractions import Fraction

from millrace.domain.media.outputs import Sprites


def thumbnails_vtt(sprites: Sprites, paths: tuple[str, ...], duration: Fraction) -> str:
    """The cue file for sprites at `paths` (in order), for a film of `duration` seconds."""
    columns, per_sprite = sprites.settings.columns, sprites.settings.columns * sprites.settings.rows
    wide, high = sprites.size.width, sprites.size.height
    cues = ["WEBVTT\n"]
    for number in range(sprites.count):
        row, column = divmod(number % per_sprite, columns)
        start = number * sprites.interval
        # The last picture stands until the end.
        end = duration if number == sprites.count - 1 else start + sprites.interval
        cues.append(
            f"{_time(start)} --> {_time(end)}\n{paths[number // per_sprite]}#xywh={column * wide},{row * high},{wide},{high}\n"
        )
    return "\n".join(cues)


def _time(seconds: Fraction) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"
