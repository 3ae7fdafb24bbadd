"""Whether pictures say of their colours what was planned: how to show them, and on what display they were mastered. Pure."""

from fractions import Fraction

from millrace.domain.media.outputs import Pictures
from millrace.domain.media.probe import LightLevel, Mastering, VideoStream

LIMITED = "tv"
POINT_STEP = Fraction(2, 10_000)
"""How far x and y of a colour may be off: FFmpeg prints four decimals of what HEVC counts in steps of 0.00002 and AV1 in such of 2^-16."""
DARK_STEP, BRIGHT_STEP = Fraction(1, 1 << 13), Fraction(1, 1 << 7)
"""The same for the darkest and the brightest, in cd/m2: AV1 counts in steps of 2^-14 and 2^-8 (AV1 specification, 6.7.4)."""


def color_findings(planned: Pictures, found: VideoStream) -> list[str]:
    """Every difference, each as the end of a sentence about the file. What is not planned an encoder may fill in."""
    texts = []
    if planned.hdr is None and found.color.is_hdr:
        texts.append("is marked HDR; planned: standard dynamic range")
    if planned.tonemap and (found.mastering or found.light):
        texts.append("tells of a display of high dynamic range; planned: standard dynamic range")
    if (wanted := planned.color) is not None:
        pairs = (
            ("transfer", found.color.transfer, wanted.transfer),
            ("primaries", found.color.primaries, wanted.primaries),
            ("matrix", found.color.space, wanted.space),
        )
        texts += [f"has the {name} {has}; planned: {want}" for name, has, want in pairs if want and has != want]
        # What says nothing of its range has the limited one.
        if wanted.range and (found.color.range or LIMITED) != wanted.range:
            texts.append(f"has the range {found.color.range or LIMITED}; planned: {wanted.range}")
    if planned.mastering is not None and not _is_near(planned.mastering, found.mastering):
        texts.append(
            f"was mastered on {_display(found.mastering)}; planned, as in the source: {_display(planned.mastering)}"
        )
    if planned.light is not None and planned.light != found.light:
        texts.append(f"has {_level(found.light)}; planned, as in the source: {_level(planned.light)}")
    return texts


def _is_near(wanted: Mastering, found: Mastering | None) -> bool:
    """The same display, each number within the steps in which codecs count."""
    if found is None or (wanted.primaries is None) != (found.primaries is None):
        return False
    if (wanted.luminance is None) != (found.luminance is None):
        return False
    points = zip(wanted.primaries or (), found.primaries or (), strict=True)
    near = all(abs(a - b) <= POINT_STEP for one, other in points for a, b in zip(one, other, strict=True))
    steps = zip(wanted.luminance or (), found.luminance or (), (DARK_STEP, BRIGHT_STEP), strict=False)
    return near and all(abs(a - b) <= step for a, b, step in steps)


def _display(one: Mastering | None) -> str:
    if one is None:
        return "a display that it does not tell of"
    names = ("red", "green", "blue", "white")
    points = [f"{name} {float(x):g},{float(y):g}" for name, (x, y) in zip(names, one.primaries or (), strict=False)]
    range_ = [f"{float(one.luminance[0]):g} to {float(one.luminance[1]):g} cd/m2"] if one.luminance else []
    return f"a display of {'; '.join((*points, *range_)) or 'nothing known'}"


def _level(one: LightLevel | None) -> str:
    return "no light levels" if one is None else f"MaxCLL {one.max_cll} and MaxFALL {one.max_fall} cd/m2"
