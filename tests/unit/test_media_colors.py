"""What becomes of colours, and of what is said beside the samples: planned, checked, told, or refused."""

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from millrace.domain.failures import FailureClass, Refused
from millrace.domain.media.check_color import color_findings
from millrace.domain.media.outputs import Pictures
from millrace.domain.media.plan import plan
from millrace.domain.media.plan_document import plan_from, to_document
from millrace.domain.media.probe import Color, DolbyVision, LightLevel, Mastering, Probe, VideoStream
from millrace.domain.media.profile import Hdr
from millrace.domain.media.proof import color_document
from millrace.engines.ffmpeg.headers import chroma_of, has_alpha
from millrace.engines.ffmpeg.side_data import first_picture, read_side_data, with_first_picture
from millrace.engines.profiles import named

PQ = Color(range="tv", space="bt2020nc", transfer="smpte2084", primaries="bt2020")
POINTS = ((Fraction("0.68"), Fraction("0.32")), (Fraction("0.265"), Fraction("0.69")))
MASTERING = Mastering(
    primaries=(*POINTS, (Fraction("0.15"), Fraction("0.06")), (Fraction("0.3127"), Fraction("0.329"))),
    luminance=(Fraction("0.0001"), Fraction(1000)),
)
LIGHT = LightLevel(max_cll=1000, max_fall=400)
FILM = VideoStream(
    index=0, codec="hevc", width=1920, height=1080, frame_rate=Fraction(25), frames=50, end=Fraction(2),
    bit_depth=10, color=PQ, mastering=MASTERING, light=LIGHT,
)  # fmt: skip


def probe(**changes: Any) -> Probe:
    return Probe(formats=("mov",), duration=Fraction(2), video=(replace(FILM, **changes),))


def planned(hdr: Hdr = Hdr.KEEP, **changes: Any) -> Any:
    return plan(replace(named("mp4-h265"), hdr=hdr), probe(**changes))


def pictures(**changes: Any) -> Pictures:
    found = planned(**changes).pictures
    assert found is not None
    return found


def test_what_is_kept_is_planned_and_handed_on_to_other_workers() -> None:
    made = planned()
    assert (made.pictures.color, made.pictures.mastering, made.pictures.light) == (PQ, MASTERING, LIGHT)
    assert plan_from(json.loads(json.dumps(to_document(made)))) == made
    mapped = planned(Hdr.TONEMAP).pictures
    assert (mapped.mastering, mapped.light, mapped.hdr) == (None, None, None)
    assert mapped.color == Color(range="tv", space="bt709", transfer="bt709", primaries="bt709")


STEP = Fraction(1, 10_000)


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"mastering": None}, "was mastered on a display that it does not tell of; planned, as in the source: a display of red 0.68,0.32"),
        ({"mastering": replace(MASTERING, luminance=(Fraction(0), Fraction(4000)))}, "0 to 4000 cd/m2; planned, as in the source"),
        ({"mastering": replace(MASTERING, luminance=None)}, "was mastered on a display of red 0.68,0.32; green"),
        ({"mastering": replace(MASTERING, primaries=None)}, "was mastered on a display of 0.0001 to 1000 cd/m2"),
        ({"light": None}, "has no light levels; planned, as in the source: MaxCLL 1000 and MaxFALL 400"),
        ({"light": replace(LIGHT, max_fall=401)}, "has MaxCLL 1000 and MaxFALL 401 cd/m2; planned"),
        ({"color": replace(PQ, transfer="arib-std-b67")}, "has the transfer arib-std-b67; planned: smpte2084"),
        ({"color": replace(PQ, primaries=None)}, "has the primaries None; planned: bt2020"),
        ({"color": replace(PQ, space="bt709")}, "has the matrix bt709; planned: bt2020nc"),
        ({"color": replace(PQ, range="pc")}, "has the range pc; planned: tv"),
    ],
)  # fmt: skip
def test_another_color_than_planned_is_found(changes: dict[str, Any], text: str) -> None:
    assert color_findings(pictures(), FILM) == []
    (found,) = color_findings(pictures(), replace(FILM, **changes))
    assert text in found


def test_codecs_may_count_in_their_own_steps() -> None:
    # As AV1 keeps them, and FFmpeg prints them.
    points = tuple((x + STEP, y - STEP) for x, y in MASTERING.primaries or ())
    near: Any = replace(MASTERING, primaries=points, luminance=(Fraction("0.000122"), Fraction(1000)))
    assert color_findings(pictures(), replace(FILM, mastering=near)) == []


def test_a_picture_of_standard_range_tells_of_no_other_display() -> None:
    wanted = planned(Hdr.TONEMAP).pictures
    standard = replace(FILM, color=wanted.color, mastering=None, light=None)
    assert color_findings(wanted, standard) == []
    for left in ({"mastering": MASTERING}, {"light": LIGHT}):
        assert color_findings(wanted, replace(standard, **left)) == [
            "tells of a display of high dynamic range; planned: standard dynamic range"
        ]
    assert color_findings(wanted, FILM)[0] == "is marked HDR; planned: standard dynamic range"


@pytest.mark.parametrize(
    ("dolby", "refused"),
    [((5, 0), True), ((10, 0), True), ((7, 6), False), ((7, 0), False), ((8, 1), False), ((8, 4), False), ((10, 1), False)],
)  # fmt: skip
def test_dolbys_own_colors_are_refused_and_others_lose_what_moves(dolby: tuple[int, int], *, refused: bool) -> None:
    vision = DolbyVision(profile=dolby[0], compatibility=dolby[1])
    if not refused:
        told = " ".join(planned(dolby_vision=vision).notes)
        assert "(Dolby Vision), left out: the output is PQ without them" in told
        return
    # It says nothing of its colours that others understand.
    with pytest.raises(Refused, match=f"Dolby Vision profile {dolby[0]}, whose colours only Dolby's") as refusal:
        planned(dolby_vision=vision, color=Color())
    assert refusal.value.failure_class is FailureClass.INPUT


@pytest.mark.parametrize(
    ("changes", "note"),
    [
        ({"dynamic_hdr": True}, "The input has metadata that change from scene to scene (HDR10+ or Dolby Vision), left out: the output is PQ without them."),
        ({"bit_depth": 12}, "The input has 12 bits a sample, the output 10."),
        ({"chroma": "4:4:4"}, "The input has colours in 4:4:4, the output in 4:2:0."),
        ({"alpha": True}, "The input may be transparent, the output is not: what lies behind is not known."),
    ],
)  # fmt: skip
def test_what_is_lost_is_told(changes: dict[str, Any], note: str) -> None:
    profile = named("mp4-h265")
    ten = [replace(one, video=replace(one.video, bit_depth=10, height=None)) for one in profile.renditions]
    kept = replace(profile, hdr=Hdr.KEEP, renditions=tuple(ten))
    assert plan(kept, probe()).notes == ("The input has no audio; the output has none either.",)
    assert note in plan(kept, probe(**changes)).notes


SAID = """\
Mastering{}isplay{}etadata{} has_primaries:1 has_luminance:1 r(0.6800,0.3200) g(0.2650,0.6900) b(0.1500 0.0600) wp(0.3127, 0.3290) min_luminance=0.000100, max_luminance=1000.000000
Content{}ight Level Metadata{} MaxCLL=1000, MaxFALL=400
"""


@pytest.mark.parametrize("filled", [SAID.format(" D", " M", ",", " L", ","), SAID.format(" d", " m", ":", " l", ":")])
def test_what_ffmpeg_says_of_the_display_is_read(filled: str) -> None:
    found = read_side_data(filled.splitlines())
    assert (found.mastering, found.light) == (MASTERING, LIGHT)
    without = filled.replace("has_primaries:1", "has_primaries:0")
    assert read_side_data(without.splitlines()).mastering == replace(MASTERING, primaries=None)
    assert read_side_data(["title : a film"]).mastering is None


def test_what_ffmpeg_says_of_dolby_vision_is_read() -> None:
    record = "DOVI configuration record: version: 1.0, profile: 8, level: 4, rpu flag: 1, el flag: 0, bl flag: 1, compatibility id: 4"
    for line in (record, f"{record}, compression: 0"):
        assert read_side_data([line]).dolby_vision == DolbyVision(profile=8, compatibility=4)
    assert read_side_data(["HDR Dynamic Metadata SMPTE2094-40 (HDR10+): application version: 1"]).dynamic_hdr


def test_only_of_high_dynamic_range_a_picture_is_looked_at() -> None:
    standard = probe(color=Color(transfer="bt709"))
    assert first_picture("ffmpeg", Path("/film"), standard) is None
    plain = probe(mastering=None, light=None)
    assert first_picture("ffmpeg", Path("/film"), plain) is not None
    said = "".join(
        f"[Parsed_showinfo_0 @ 0x5f]   side data - {line}\n"
        for line in SAID.format(" d", " m", ":", " l", ":").splitlines()
    )
    assert with_first_picture(plain, said, 0) == probe()
    assert with_first_picture(plain, said, 1) == plain  # the encode will say what is wrong with it
    assert with_first_picture(plain, said.replace("[Parsed_showinfo_0", "[tag"), 0) == plain


def test_the_proof_tells_only_what_is_known() -> None:
    assert color_document(replace(FILM, mastering=None, light=None)) == {
        "space": "bt2020nc", "transfer": "smpte2084", "primaries": "bt2020", "range": "tv", "hdr": "PQ",
    }  # fmt: skip
    told = color_document(replace(FILM, dolby_vision=DolbyVision(profile=8, compatibility=1), dynamic_hdr=True))
    assert (told["dolby_vision"], told["dynamic"]) == ({"profile": 8, "compatibility": 1}, True)


@pytest.mark.parametrize(
    ("pixel_format", "chroma", "alpha"),
    [
        ("yuv420p", "4:2:0", False), ("yuvj420p", "4:2:0", False), ("nv12", "4:2:0", False), ("p010le", "4:2:0", False),
        ("yuv422p10le", "4:2:2", False), ("uyvy422", "4:2:2", False), ("yuva444p12le", "4:4:4", True), ("yuv411p", "4:1:1", False),
        ("gbrp", "RGB", False), ("rgba", "RGB", True), ("pal8", "RGB", True), ("gray10le", "grey", False), (None, "RGB", False),
    ],
)  # fmt: skip
def test_pixel_formats_are_known_by_their_names(pixel_format: str | None, chroma: str, *, alpha: bool) -> None:
    assert (chroma_of(pixel_format), has_alpha(pixel_format)) == (chroma, alpha)
