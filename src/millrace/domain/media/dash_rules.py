"""Whether a manifest keeps the rules of DASH (ISO/IEC 23009-1, profile isoff-live) and says of its files what they are. Pure.

As `hls_rules`, this reads the text as it lies there, and does not ask the code that wrote it.
"""

import re
from collections.abc import Iterator, Mapping
from fractions import Fraction
from itertools import pairwise
from xml.etree import ElementTree as ET  # what is read was written by ourselves a moment ago

from msgspec import Struct

from millrace.domain.media.dash import LIVE_PROFILE, NAMESPACE, TRANSFERS, Segments
from millrace.domain.media.hls_rules import Media, Violation

SOURCE = "ISO/IEC 23009-1"
ORDER = (
    "AudioChannelConfiguration", "EssentialProperty", "Label", "Accessibility", "Role", "BaseURL", "SegmentTemplate", "Representation",
)  # fmt: skip
"""In which an adaptation set holds them: the schema is a sequence."""
MOST_ROUNDED = 3
_DURATION = re.compile(r"PT(?:(\d+)H)?(?:(\d+)M)?(\d+(?:\.\d+)?)S\Z")
_NUMBER = re.compile(r"\$Number%0(\d+)d\$")


class Truth(Struct, frozen=True, kw_only=True):
    """What a representation is: its files' own words, and its segments as they were read from their bytes."""

    media: Media
    segments: Segments


class _Set(Struct, kw_only=True):
    """One adaptation set, and the time for which the presentation lasts and is filled beforehand (seconds)."""

    node: ET.Element
    lasts: Fraction
    waits: Fraction
    sizes: Mapping[str, int]
    truth: Mapping[str, Truth]

    @property
    def representations(self) -> list[ET.Element]:
        return self.node.findall(_in("Representation"))


def violations(path: str, text: str, sizes: Mapping[str, int], truth: Mapping[str, Truth]) -> tuple[Violation, ...]:
    """Every rule that is broken, by a manifest at `path` beside files of these `sizes`, with what each representation is by its id."""
    return tuple(Violation(path=path, text=found, source=SOURCE) for found in _manifest(text, sizes, truth))


def _manifest(text: str, sizes: Mapping[str, int], truth: Mapping[str, Truth]) -> Iterator[str]:
    try:
        root = ET.fromstring(text.encode())  # noqa: S314  see the import
    except ET.ParseError as error:
        yield f"is no XML: {error}"
        return
    lasts, waits = _seconds(root.get("mediaPresentationDuration")), _seconds(root.get("minBufferTime"))
    if root.tag != _in("MPD"):
        yield "is no MPD"
    if root.get("type") != "static" or LIVE_PROFILE not in root.get("profiles", "").split(","):
        yield "is not a static presentation of the profile isoff-live"
    if lasts is None or waits is None:
        yield "leaves out mediaPresentationDuration or minBufferTime"
        return
    sets = root.findall(f"{_in('Period')}/{_in('AdaptationSet')}")
    ids = [one.get("id") for each in sets for one in each.findall(_in("Representation"))]
    if len(set(ids)) < len(ids):
        yield "has two representations with one id"
    if len({one.get("id") for one in sets}) < len(sets):
        yield "has two adaptation sets with one id"
    missing = sorted(set(truth) - {str(one) for one in ids})
    if missing:
        yield f"leaves out {', '.join(missing)}"
    for node in sets:
        yield from _set(_Set(node=node, lasts=lasts, waits=waits, sizes=sizes, truth=truth))


def _set(one: _Set) -> Iterator[str]:
    name = f"adaptation set {one.node.get('id')}"
    kind = one.node.get("contentType")
    children = [child.tag.removeprefix(_in("")) for child in one.node]
    places = [ORDER.index(child) for child in children if child in ORDER]
    if places != sorted(places):
        yield f"has the parts of {name} in another order than the schema"
    if not one.representations:
        yield f"has no representation in {name}"
    if kind not in ("video", "audio", "text"):
        yield f"does not say what {name} holds"
    if kind in ("audio", "text") and not one.node.get("lang"):
        yield f"leaves out the language of {name}"
    if kind == "audio" and "AudioChannelConfiguration" not in children:
        yield f"leaves out the channels of {name}"
    for representation in one.representations:
        yield from _text(one, representation) if kind == "text" else _media(one, representation)
    if kind == "video":
        yield from _aligned(one)
        yield from _colour(one)


def _text(one: _Set, node: ET.Element) -> Iterator[str]:
    name = node.findtext(_in("BaseURL"), "")
    if name not in one.sizes:
        yield f"names {name}, which is missing"
    if not node.get("bandwidth", "").isdigit():
        yield f"leaves out the bandwidth of {node.get('id')}"


def _media(one: _Set, node: ET.Element) -> Iterator[str]:
    id_ = node.get("id", "")
    truth = one.truth.get(id_)
    if truth is None:
        yield f"names {id_}, which was not made"
        return
    claims = {
        "codecs": truth.media.codecs,
        "width": truth.media.size and str(truth.media.size.width),
        "height": truth.media.size and str(truth.media.size.height),
        "frameRate": truth.media.rate and str(truth.media.rate),
        "sar": truth.media.size and "1:1",
    }
    for name, value in claims.items():
        if value and node.get(name) != value:
            yield f"claims {name} {node.get(name)} of {id_}; the files have {value}"
    template = node.find(_in("SegmentTemplate"))
    if template is None:
        yield f"has no segments of {id_}"
        return
    found = _timeline(template)
    wanted = [(span.start, span.ticks) for span in truth.segments.spans]
    if found != wanted or template.get("timescale") != str(truth.segments.timescale):
        yield f"claims other times of segments of {id_} than they have"
    yield from _files(one, template, id_, len(found))
    scale, origin = int(template.get("timescale", "1")), int(template.get("presentationTimeOffset", "0"))
    if found and Fraction(sum(found[-1]) - origin, scale) > one.lasts:
        yield f"ends before {id_} does"
    yield from _in_time(one, node, truth)


def _timeline(template: ET.Element) -> list[tuple[int, int]]:
    """Start and length of every segment, in ticks."""
    found: list[tuple[int, int]] = []
    for entry in template.iterfind(f"{_in('SegmentTimeline')}/{_in('S')}"):
        ticks = int(entry.get("d", "0"))
        start = int(entry.get("t") or (sum(found[-1]) if found else 0))
        found += [(start + number * ticks, ticks) for number in range(int(entry.get("r", "0")) + 1)]
    return found


def _files(one: _Set, template: ET.Element, id_: str, count: int) -> Iterator[str]:
    first = int(template.get("startNumber", "1"))
    media, header = (template.get(name, "").replace("$RepresentationID$", id_) for name in ("media", "initialization"))
    *names, after = (_numbered(media, number) for number in range(first, first + count + 1))
    for name in (header, *names):
        if not one.sizes.get(name):
            yield f"names {name}, which is missing or empty"
    if after in one.sizes:
        yield f"leaves out {after}"


def _numbered(media: str, number: int) -> str:
    match = _NUMBER.search(media)
    return media.replace(match[0], str(number).zfill(int(match[1]))) if match else media


def _in_time(one: _Set, node: ET.Element, truth: Truth) -> Iterator[str]:
    """Who waits for `minBufferTime` and then loads at `bandwidth` has every segment when it begins (5.3.5.2), from any of them on."""
    rate = int(node.get("bandwidth", "0"))
    spans, scale = truth.segments.spans, truth.segments.timescale
    # Bits, times the timescale, that are still to come when a segment begins, were one to begin with the worst of those before it.
    owed = 0
    for span, before in zip(spans, (None, *spans), strict=False):
        owed = max(0, owed - (before.ticks * rate if before else 0)) + span.size * 8 * scale
        if owed > rate * one.waits * scale:
            yield f"claims {rate} bits a second of {node.get('id')}, at which it would come late"
            return


def _aligned(one: _Set) -> Iterator[str]:
    """Representations of one adaptation set change segments together, or it must not say that they do."""
    times = {
        str(node.get("id")): [Fraction(start, int(template.get("timescale", "1"))) for start, _ in _timeline(template)]
        for node in one.representations
        if (template := node.find(_in("SegmentTemplate"))) is not None
    }
    for (here, mine), (there, theirs) in pairwise(times.items()):
        if one.node.get("segmentAlignment") != "true" or mine != theirs:
            yield f"says that {there} changes segments when {here} does, which is not so"
    ratio = one.node.get("par", "").split(":")
    if len(ratio) == 2 and all(part.isdigit() for part in ratio):
        shape = Fraction(int(ratio[0]), int(ratio[1]))
        sizes = [(int(node.get("width", "0")), int(node.get("height", "0"))) for node in one.representations]
        # Both sides are rounded to even pixels, and the shape is that of one of them.
        if any(abs(wide - high * shape) > MOST_ROUNDED * (1 + shape) for wide, high in sizes):
            yield f"claims pictures of {one.node.get('par')}, which they are not"


def _colour(one: _Set) -> Iterator[str]:
    """High dynamic range is told, because what cannot show it must not take it."""
    transfers = f"{_in('EssentialProperty')}[@schemeIdUri='urn:mpeg:mpegB:cicp:TransferCharacteristics']"
    told = {node.get("value") for node in one.node.findall(transfers)}
    ids = [str(node.get("id")) for node in one.representations]
    ranges = {one.truth[name].media.video_range for name in ids if name in one.truth}
    if told != {str(TRANSFERS[each]) for each in ranges if each}:
        yield f"claims the transfer {', '.join(map(str, told)) or 'SDR'}; the pictures are {', '.join(each or 'SDR' for each in ranges)}"


def _seconds(text: str | None) -> Fraction | None:
    match = _DURATION.match(text or "")
    return int(match[1] or 0) * 3600 + int(match[2] or 0) * 60 + Fraction(match[3]) if match else None


def _in(name: str) -> str:
    return f"{{{NAMESPACE}}}{name}"
