"""Whether an HLS package keeps the rules: RFC 8216, and of Apple's HLS Authoring Specification those that files can break. Pure.

What is looked at are the playlists as they lie there, against what the files themselves say (`Media`): the code that wrote them is
not asked. Rules about servers (TLS, gzip) and about taste (which rungs a ladder has) are left out.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from itertools import pairwise

from msgspec import Struct

from millrace.domain.media.hls import (
    Bandwidth,
    MediaPlaylist,
    Segment,
    bandwidth,
    parse_media_playlist,
    target_duration,
)
from millrace.domain.media.ladder import Size
from millrace.domain.media.languages import same_language

RFC, APPLE = "RFC 8216", "Apple's HLS Authoring Specification"
TOLERANCE = Fraction(1, 10)
"""How far BANDWIDTH and AVERAGE-BANDWIDTH of a film may be from what is measured."""
PEAK_OF_AVERAGE = 2
FASTEST, HIGHEST_AVC_LEVEL = 60, 52
KEY_FRAMES_S = 2
SAME_LENGTH_S, FRAME_S, EXACT_S = 1, Fraction(1, 20), Fraction(1, 1000)
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')


class Media(Struct, frozen=True, kw_only=True):
    """What the files behind one media playlist say of themselves.

    Attributes:
        codecs: from their headers; None for subtitles.
        size, rate, video_range: of pictures; a range of None is the standard one.
        channels: of sound.
        language: three letters, as the header of the files has it; None where it says nothing.
        lengths: of the segments in seconds, as their own headers have them; None where they are not known.
        key_frames: the pictures that stand alone, as ranges of bytes; None where they are not known.
    """

    codecs: str | None = None
    size: Size | None = None
    rate: Fraction | None = None
    video_range: str | None = None
    channels: int | None = None
    language: str | None = None
    lengths: tuple[Fraction, ...] | None = None
    key_frames: tuple[Segment, ...] | None = None


class Violation(Struct, frozen=True, kw_only=True):
    """One rule that one file breaks. What `must` not be is wrong everywhere; anything else is worse for some players."""

    path: str
    text: str
    source: str
    must: bool = True

    @property
    def sentence(self) -> str:
        """The whole in one line."""
        return f"{self.path} {self.text} ({self.source})"


class _Entry(Struct, frozen=True, kw_only=True):
    """A tag of the multivariant playlist with its attributes, unquoted, and the address that it or the next line names."""

    tag: str
    attributes: Mapping[str, str]
    uri: str

    @property
    def label(self) -> str:
        return f"{self.tag} of {self.uri}"


class _Package(Struct, kw_only=True):
    """All of it, read; `rates` are what loading the segments of each playlist takes."""

    master: str
    lines: Sequence[str]
    entries: Sequence[_Entry]
    playlists: Mapping[str, MediaPlaylist]
    sizes: Mapping[str, int]
    media: Mapping[str, Media]
    rates: Mapping[str, Bandwidth]

    def of(self, tag: str, **attributes: str) -> list[_Entry]:
        """The entries of a kind."""
        return [
            one for one in self.entries
            if one.tag == tag and all(one.attributes.get(key.replace("_", "-")) == value for key, value in attributes.items())
        ]  # fmt: skip


def violations(
    master: str, texts: Mapping[str, str], sizes: Mapping[str, int], media: Mapping[str, Media]
) -> tuple[Violation, ...]:
    """Every rule that is broken.

    Args:
        master: the path of the multivariant playlist.
        texts: every playlist by its path.
        sizes: the size in bytes of every file by its path.
        media: what the files of a media playlist are, by the playlist's path.
    """
    lines = [line.strip() for line in texts.get(master, "").splitlines() if line.strip()]
    found: list[Violation] = []
    playlists: dict[str, MediaPlaylist] = {}
    entries = list(_entries(lines))
    for uri in dict.fromkeys(one.uri for one in entries if one.uri):
        try:
            playlists[uri] = parse_media_playlist(texts[uri])
        except KeyError:
            found.append(_broken(master, f"names {uri}, which is missing"))
        except ValueError as error:
            found.append(_broken(uri, f"is no playlist: {error}"))
    package = _Package(
        master=master,
        lines=lines,
        entries=entries,
        playlists=playlists,
        sizes=sizes,
        media=media,
        rates={uri: _measured(uri, playlist.segments, sizes) for uri, playlist in playlists.items()},
    )
    found += _multivariant(package)
    found += _groups(package)
    for uri in playlists:
        found += _media_playlist(package, uri)
    if all(one.uri in playlists for one in entries):
        found += [*_variants(package), *_renditions(package), *_key_frames(package), *_together(package)]
    return tuple(found)


def _measured(uri: str, segments: Sequence[Segment], sizes: Mapping[str, int]) -> Bandwidth:
    weights = (sizes.get(_beside(uri, one.uri), 0) if one.size is None else one.size for one in segments)
    return bandwidth([(one.duration, size) for one, size in zip(segments, weights, strict=True)])


def _broken(path: str, text: str, source: str = RFC, *, must: bool = True) -> Violation:
    return Violation(path=path, text=text, source=source, must=must)


def _entries(lines: Sequence[str]) -> Iterator[_Entry]:
    following = [*lines[1:], ""]
    for line, after in zip(lines, following, strict=True):
        tag, _, value = line.partition(":")
        if tag in ("#EXT-X-MEDIA", "#EXT-X-STREAM-INF", "#EXT-X-I-FRAME-STREAM-INF"):
            attributes = {name: text.strip('"') for name, text in _ATTRIBUTE.findall(value)}
            uri = attributes.get("URI", "") if tag != "#EXT-X-STREAM-INF" else "" if after.startswith("#") else after
            yield _Entry(tag=tag, attributes=attributes, uri=uri)


def _multivariant(package: _Package) -> Iterator[Violation]:
    if package.lines[:1] != ["#EXTM3U"]:
        yield _broken(package.master, "does not begin with #EXTM3U")
    if not any(line.startswith("#EXT-X-VERSION:") for line in package.lines):
        yield _broken(package.master, "has no EXT-X-VERSION")
    if "#EXT-X-INDEPENDENT-SEGMENTS" not in package.lines:
        yield _broken(package.master, "does not say that segments are independent", APPLE)
    if not package.of("#EXT-X-STREAM-INF"):
        yield _broken(package.master, "has no variant")
    needed = ("BANDWIDTH", "AVERAGE-BANDWIDTH", "CODECS", "RESOLUTION")
    for one in package.entries:
        if one.tag == "#EXT-X-MEDIA":
            continue
        wanted = (*needed, "FRAME-RATE") if one.tag == "#EXT-X-STREAM-INF" else needed
        missing = [name for name in wanted if name not in one.attributes]
        if missing:
            yield _broken(
                package.master,
                f"leaves out {', '.join(missing)} in {one.label}",
                RFC if "BANDWIDTH" in missing else APPLE,
            )
        if not one.uri:
            yield _broken(package.master, f"has an {one.tag} without an address")


def _groups(package: _Package) -> Iterator[Violation]:
    """Renditions of sound and text: complete, each name once, one default, and every variant with the same groups."""
    groups: dict[tuple[str, str], list[_Entry]] = {}
    for one in package.of("#EXT-X-MEDIA"):
        yield from _member(package, one)
        groups.setdefault((one.attributes.get("TYPE", ""), one.attributes.get("GROUP-ID", "")), []).append(one)
    for (kind, name), members in groups.items():
        names = [one.attributes.get("NAME") for one in members]
        if len(set(names)) < len(names):
            yield _broken(package.master, f"has a name twice in the group {name} of {kind}")
        if sum(one.attributes.get("DEFAULT") == "YES" for one in members) > 1:
            yield _broken(package.master, f"has more than one default in the group {name} of {kind}")
    for kind in ("AUDIO", "SUBTITLES"):
        named = [one.attributes.get(kind) for one in package.of("#EXT-X-STREAM-INF")]
        for name in sorted({name for name in named if name is not None and (kind, name) not in groups}):
            yield _broken(package.master, f"names the group {name} of {kind}, which is missing")
        if any(kind == there for there, _ in groups) and None in named:
            yield _broken(package.master, f"has variants without the group of {kind} that others have")


def _member(package: _Package, one: _Entry) -> Iterator[Violation]:
    given = one.attributes
    missing = [name for name in ("TYPE", "GROUP-ID", "NAME") if not given.get(name)]
    if missing:
        yield _broken(package.master, f"leaves out {', '.join(missing)} in {one.label}")
    if not given.get("LANGUAGE"):
        yield _broken(package.master, f"leaves out LANGUAGE in {one.label}", APPLE)
    if given.get("TYPE") == "AUDIO" and not given.get("CHANNELS"):
        yield _broken(package.master, f"leaves out CHANNELS in {one.label}", APPLE)
    if given.get("DEFAULT") == "YES" and given.get("AUTOSELECT") != "YES":
        yield _broken(package.master, f"has a default that is not selected by itself: {one.label}")


def _media_playlist(package: _Package, uri: str) -> Iterator[Violation]:
    playlist = package.playlists[uri]
    target, version = playlist.tags.get("TARGETDURATION", ""), playlist.tags.get("VERSION", "")
    if not target.isdigit():
        yield _broken(uri, "has no EXT-X-TARGETDURATION in whole seconds")
    elif target_duration(one.duration for one in playlist.segments) > int(target):
        yield _broken(uri, f"has a segment that is longer than its target of {target} s")
    if not playlist.segments:
        yield _broken(uri, "names no segments")
    if not playlist.ended or playlist.tags.get("PLAYLIST-TYPE") != "VOD":
        yield _broken(uri, "does not say that it is whole (EXT-X-PLAYLIST-TYPE:VOD, EXT-X-ENDLIST)", APPLE)
    least = 6 if playlist.map_uri else 4
    if not version.isdigit() or int(version) < least:
        yield _broken(uri, f"uses what version {least} brought, and claims an older one")
    if playlist.map_uri is None and any(one.uri.endswith(".m4s") for one in playlist.segments):
        yield _broken(uri, "has fragmented MP4 without an EXT-X-MAP")
    yield from _files(package, uri)


def _files(package: _Package, uri: str) -> Iterator[Violation]:
    """What a playlist names is there, as long as it says, and so are the bytes of it."""
    playlist = package.playlists[uri]
    lengths = package.media.get(uri, Media()).lengths
    if lengths is not None and not _as_long([one.duration for one in playlist.segments], lengths):
        yield _broken(uri, "claims other lengths of segments than they have")
    for name in dict.fromkeys([*(one.uri for one in playlist.segments), *filter(None, [playlist.map_uri])]):
        if not package.sizes.get(_beside(uri, name)):
            yield _broken(uri, f"names {name}, which is missing or empty")
    for one in playlist.segments:
        size = package.sizes.get(_beside(uri, one.uri), 0)
        if one.size is not None and not 0 < one.begin + one.size <= size:
            yield _broken(uri, f"names bytes of {one.uri} that it does not have")


def _as_long(claimed: Sequence[Fraction], lengths: Sequence[Fraction]) -> bool:
    """The last frame of sound may be played in part: then one counts it whole, and the other what is heard of it."""
    if not claimed or len(claimed) != len(lengths):
        return False
    *most, last = (abs(a - b) for a, b in zip(claimed, lengths, strict=True))
    return all(off <= EXACT_S for off in most) and last <= FRAME_S


def _variants(package: _Package) -> Iterator[Violation]:
    """What a variant claims, and what it is."""
    for one in package.of("#EXT-X-STREAM-INF"):
        sound = package.of("#EXT-X-MEDIA", TYPE="AUDIO", GROUP_ID=one.attributes.get("AUDIO", ""))
        text = package.of("#EXT-X-MEDIA", TYPE="SUBTITLES", GROUP_ID=one.attributes.get("SUBTITLES", ""))
        yield from _codecs(package, one, [package.media.get(entry.uri, Media()).codecs for entry in sound])
        yield from _picture(package, one)
        yield from _rates(package, one, [[entry.uri for entry in sound], [entry.uri for entry in text]])


def _key_frames(package: _Package) -> Iterator[Violation]:
    """Every variant can be wound, and what is listed for that are its key frames."""
    listed = package.of("#EXT-X-I-FRAME-STREAM-INF")
    for one in package.of("#EXT-X-STREAM-INF"):
        size = one.attributes.get("RESOLUTION")
        if not any(each.attributes.get("RESOLUTION") == size for each in listed):
            certain = package.media.get(one.uri, Media()).key_frames is not None
            yield _broken(
                package.master, f"has no key frames (EXT-X-I-FRAME-STREAM-INF) of {size}", APPLE, must=certain
            )
    for one in listed:
        yield from _codecs(package, one, [])
        yield from _picture(package, one)
        yield from _rates(package, one, [])
        playlist, truth = package.playlists[one.uri], package.media.get(one.uri, Media()).key_frames
        if "I-FRAMES-ONLY" not in playlist.tags:
            yield _broken(one.uri, "does not say that it has key frames only (EXT-X-I-FRAMES-ONLY)")
        if truth is not None and [_place(each) for each in truth] != [_place(each) for each in playlist.segments]:
            yield _broken(one.uri, "names other bytes than those of the key frames")
        if any(each.duration > KEY_FRAMES_S for each in playlist.segments):
            yield _broken(one.uri, f"has key frames that are more than {KEY_FRAMES_S} s apart", APPLE, must=False)


def _codecs(package: _Package, one: _Entry, beside: Sequence[str | None]) -> Iterator[Violation]:
    own = package.media.get(one.uri, Media()).codecs
    truth = set(filter(None, [own, *beside]))
    claimed = set(one.attributes.get("CODECS", "").split(","))
    if own is not None and claimed != truth:
        text = (
            f"claims the codecs {', '.join(sorted(claimed))} in {one.label}; the files have {', '.join(sorted(truth))}"
        )
        yield _broken(package.master, text)
    if own is None or one.tag != "#EXT-X-STREAM-INF":
        return
    if not own.startswith(("avc1", "avc3", "hvc1", "hev1")):
        yield _broken(one.uri, f"is in {own}; devices of Apple play H.264 and H.265", APPLE, must=False)
    elif own.startswith("avc") and int(own[-2:], 16) > HIGHEST_AVC_LEVEL:
        yield _broken(one.uri, f"needs level {int(own[-2:], 16) / 10:g}", APPLE, must=False)


def _picture(package: _Package, one: _Entry) -> Iterator[Violation]:
    truth = package.media.get(one.uri, Media())
    given = one.attributes
    if truth.size and given.get("RESOLUTION") != f"{truth.size.width}x{truth.size.height}":
        text = (
            f"claims {given.get('RESOLUTION')} in {one.label}; the pictures have {truth.size.width}x{truth.size.height}"
        )
        yield _broken(package.master, text)
    if truth.size and given.get("VIDEO-RANGE", "SDR") != (truth.video_range or "SDR"):
        text = f"claims {given.get('VIDEO-RANGE')} in {one.label}; the pictures are {truth.video_range or 'SDR'}"
        yield _broken(package.master, text)
    if truth.rate is None or one.tag != "#EXT-X-STREAM-INF":
        return
    if "FRAME-RATE" in given and given["FRAME-RATE"] != f"{float(truth.rate):.3f}":
        text = f"claims {given['FRAME-RATE']} frames a second in {one.label}; there are {float(truth.rate):.3f}"
        yield _broken(package.master, text)
    if truth.rate > FASTEST:
        yield _broken(one.uri, f"has more than {FASTEST} frames a second", APPLE, must=False)


def _rates(package: _Package, one: _Entry, groups: Sequence[Sequence[str]]) -> Iterator[Violation]:
    """The rates that are claimed are those of the variant with the heaviest of each group beside it."""
    own = package.rates[one.uri]
    beside = [[package.rates[uri] for uri in group] for group in groups if group]
    peak = own.peak_bps + sum(max(each.peak_bps for each in group) for group in beside)
    average = own.average_bps + sum(max(each.average_bps for each in group) for group in beside)
    for name, truth in (("BANDWIDTH", peak), ("AVERAGE-BANDWIDTH", average)):
        claimed = one.attributes.get(name, "")
        if claimed.isdigit() and abs(int(claimed) - truth) > truth * TOLERANCE:
            text = f"claims {name} {claimed} in {one.label}; measured: {truth}"
            yield _broken(package.master, text, APPLE)
    if one.tag == "#EXT-X-STREAM-INF" and peak > average * PEAK_OF_AVERAGE:
        text = f"has a peak of {peak / average:.1f} times its average bit rate; at most {PEAK_OF_AVERAGE} are well"
        yield _broken(one.uri, text, APPLE, must=False)


def _renditions(package: _Package) -> Iterator[Violation]:
    for one in package.of("#EXT-X-MEDIA"):
        truth = package.media.get(one.uri, Media())
        if truth.channels is not None and one.attributes.get("CHANNELS") != str(truth.channels):
            text = f"claims {one.attributes.get('CHANNELS')} channels in {one.label}; there are {truth.channels}"
            yield _broken(package.master, text)
        if truth.language and not same_language(truth.language, one.attributes.get("LANGUAGE")):
            text = (
                f"claims the language {one.attributes.get('LANGUAGE')} in {one.label}; the files say {truth.language}"
            )
            yield _broken(package.master, text)


def _together(package: _Package) -> Iterator[Violation]:
    """What plays together fits together: target durations, borders of segments, discontinuities, lengths."""
    pictures = [one.uri for one in package.of("#EXT-X-STREAM-INF")]
    sound = [one.uri for one in package.of("#EXT-X-MEDIA", TYPE="AUDIO")]
    text = [one.uri for one in package.of("#EXT-X-MEDIA", TYPE="SUBTITLES")]
    winding = [one.uri for one in package.of("#EXT-X-I-FRAME-STREAM-INF")]
    every = package.playlists
    for one, other in pairwise([*pictures, *sound]):
        if every[one].tags.get("TARGETDURATION") != every[other].tags.get("TARGETDURATION"):
            yield _broken(other, f"has another target duration than {one}")
    for one, other in pairwise(pictures):
        rate = package.media.get(one, Media()).rate or Fraction(1000)
        here, there = every[one].segments, every[other].segments
        if len(here) != len(there) or any(
            abs(a.duration - b.duration) > 1 / rate / 2 for a, b in zip(here, there, strict=False)
        ):
            yield _broken(other, f"changes segments at other times than {one}", APPLE)
        if [a.breaks for a in here] != [b.breaks for b in there]:
            yield _broken(other, f"has other discontinuities than {one}")
    if pictures:
        length = sum(one.duration for one in every[pictures[0]].segments)
        for uri in [*text, *winding]:
            if abs(sum((one.duration for one in every[uri].segments), Fraction(0)) - length) > SAME_LENGTH_S:
                yield _broken(uri, "is not as long as the film")


def _place(one: Segment) -> tuple[str, int, int | None]:
    return one.uri, one.begin, one.size


def _beside(path: str, name: str) -> str:
    folder = path.rpartition("/")[0]
    return f"{folder}/{name}" if folder else name
