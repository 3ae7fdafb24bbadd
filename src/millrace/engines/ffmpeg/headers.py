"""Reader of what FFmpeg prints about an input ("Input #0 ... Stream #0:0: Video: ..."), versions 5.1 to 9."""

import re
from fractions import Fraction

from msgspec import Struct, field

INPUT = re.compile(r"^Input #0, (\S+), from ")
DURATION = re.compile(r"^\s+Duration: (N/A|(\d+):(\d\d):(\d\d\.\d+))(?:, start: (-?\d+\.\d+))?")
STREAM = re.compile(
    r"^\s+Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\(([^)]*)\))?: (Video|Audio|Subtitle|Data|Attachment): (.*)$"
)
CHAPTER = re.compile(r"^\s+Chapter #0:(\d+): start -?[\d.]+, end (-?\d+\.\d+)")
MAPPING = re.compile(r"^\s+Stream #0:(\d+) -> #0:(\d+) \(copy\)")
CROPPING = re.compile(r"^Frame Cropping: (\d+)/(\d+)/(\d+)/(\d+)$", re.IGNORECASE)
TRANSPARENT = re.compile(r"^\s+alpha_mode\s+: 1$")
SIDE_DATA = re.compile(r"^\s+Side data:$")
ROTATION = re.compile(r"rotation of (-?\d+(?:\.\d+)?|-?nan) degrees")
SIZE = re.compile(r"^(\d+)x(\d+)")
SAR = re.compile(r"SAR (\d+):(\d+)")
RATE = re.compile(r"([\d.]+k?) (fps|tbr)\b")
DEPTH = re.compile(r"(?:p|gray|gbrap?|gbrp|rgb|y2|p0|xv)(9|10|12|14|16)(?:le|be)?$")
GREY = ("gray", "mono", "ya")
CHROMA = re.compile(r"4(?:20|22|44|40|11|10)(?=p|$|\D)")
PACKED = {
    "4:2:0": ("nv12", "nv21", "p01"), "4:2:2": ("nv16", "nv20", "p21", "y21"), "4:4:4": ("nv24", "nv42", "p41", "xv", "vuy", "ayuv"),
}  # fmt: skip
ALPHA = re.compile(r"yuva|gbrap|rgba|bgra|argb|abgr|ya\d|ayuv|vuya|pal8")
"""Names of pixel formats (libavutil/pixdesc.c)."""
CHANNELS = {
    "mono": 1, "stereo": 2, "downmix": 2, "2.1": 3, "3.0": 3, "4.0": 4, "quad": 4, "3.1": 4, "5.0": 5, "4.1": 5, "5.1": 6,
    "6.0": 6, "hexagonal": 6, "6.1": 7, "7.0": 7, "7.1": 8, "octagonal": 8,
}  # fmt: skip
TEXT_SUBTITLES = ("subrip", "srt", "ass", "ssa", "mov_text", "webvtt", "text", "ttml", "microdvd", "eia_608")
FIELDS = {
    "top first": "tt", "bottom first": "bb",
    "top coded first (swapped)": "tb", "bottom coded first (swapped)": "bt",
}  # fmt: skip


class Header(Struct):
    """One stream as printed: `kind`, the text after it cut at its top-level commas, and what stood below it; `side_data` is a line each."""

    index: int
    kind: str
    language: str | None
    parts: list[str]
    side_data: list[str] | None = None
    """None until its heading has come."""
    transparent: bool = False
    """Whether a container says that a stream of its own holds the alpha of the pictures (WebM)."""

    @property
    def cropping(self) -> tuple[int, int]:
        """How much narrower and lower the pictures are that a container has shown: left, right, top and bottom are cut off."""
        found = next((match for line in self.side_data or () if (match := CROPPING.match(line))), None)
        left, right, top, bottom = map(int, found.groups()) if found else (0, 0, 0, 0)
        return left + right, top + bottom

    @property
    def rotation(self) -> float:
        """Degrees anticlockwise that the picture is to be turned for display."""
        found = [
            match[1] for line in self.side_data or () if (match := ROTATION.search(line)) and "nan" not in match[1]
        ]
        return float(found[-1]) if found else 0.0

    @property
    def codec(self) -> str:
        """FFmpeg's name of the codec; `none` where it knows none."""
        return self.parts[0].split(" ", 1)[0].rstrip(",")

    @property
    def profile(self) -> str | None:
        """The codec's profile, such as Main 10."""
        words = re.findall(r"\(([^()/]*)\)", self.parts[0])
        # The decoder's name stands in brackets too where it is not the codec's own.
        return next((word for word in words if not word.startswith("lib")), None)

    @property
    def dispositions(self) -> tuple[str, ...]:
        """What stands in brackets at the line's end, such as `default` and `comment`."""
        return tuple(re.findall(r"\(([a-z -]+)\)", self.parts[-1]))

    @property
    def text(self) -> str:
        """The whole line."""
        return ", ".join(self.parts)


class Headers(Struct):
    """All that the input's description says. `declared_s` is the length that the file claims, if any.

    `forged`: it says two different things of one stream, or of the length. FFmpeg prints the names of tags as they are, also
    with line ends in them, so that a file can put lines of its own there; but it cannot take the true ones away.
    """

    formats: tuple[str, ...] = ()
    declared_s: Fraction | None = None
    start_s: Fraction | None = None
    streams: list[Header] = field(default_factory=list)
    mapping: dict[int, int] = field(default_factory=dict)
    """Input stream number by output stream number."""
    chapters: dict[int, Fraction] = field(default_factory=dict)
    """When each chapter ends, in seconds on the file's own clock."""
    forged: bool = False
    timed: bool = False
    by_index: dict[int, Header] = field(default_factory=dict)
    last: Header | None = None
    """The stream that the lines read last belong to."""


def read_headers(log: str) -> Headers:
    """Read the description of the first input and the stream mapping."""
    found = Headers()
    inside = False
    for line in log.splitlines():
        if match := INPUT.match(line):
            found.formats = tuple(name for name in match[1].split(",") if name)
            inside = True
        elif match := MAPPING.match(line):
            into, of = int(match[2]), int(match[1])
            found.forged = found.forged or found.mapping.setdefault(into, of) != of
        elif line.startswith(("Output #", "Stream mapping")):
            inside = False
        elif inside:
            _inside(line, found)
    return found


def _inside(line: str, found: Headers) -> None:
    if match := DURATION.match(line):
        found.forged = found.forged or found.timed
        found.timed = True
        if match[1] != "N/A":
            found.declared_s = int(match[2]) * 3600 + int(match[3]) * 60 + Fraction(match[4])
        found.start_s = Fraction(match[5]) if match[5] else None
    elif match := STREAM.match(line):
        language = match[2] if match[2] and match[2] != "und" and re.fullmatch(r"[a-zA-Z-]{2,12}", match[2]) else None
        made = Header(index=int(match[1]), kind=match[3], language=language, parts=_parts(match[4]))
        found.last = same = found.by_index.setdefault(made.index, made)
        if same is made:
            found.streams.append(made)
        elif (same.kind, same.parts) != (made.kind, made.parts):  # a stream of two programs is printed twice
            found.forged = True
    elif match := CHAPTER.match(line):
        found.chapters[int(match[1])] = Fraction(match[2])
    elif found.last and SIDE_DATA.match(line):
        found.last.side_data = []
    elif found.last and TRANSPARENT.match(line):
        found.last.transparent = True
    elif found.last and found.last.side_data is not None:
        found.last.side_data.append(line.strip())


def _parts(text: str) -> list[str]:
    """Cut at commas outside brackets."""
    parts, depth, start = [], 0, 0
    for position, char in enumerate(text):
        if char in "([":
            depth += 1
        elif char in ")]":
            depth -= 1
        elif char == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    parts.append(text[start:].strip())
    return parts


def size_of(header: Header) -> tuple[int, int] | None:
    """Coded width and height."""
    for part in header.parts[1:]:
        if match := SIZE.match(part):
            return int(match[1]), int(match[2])
    return None


def sar_of(header: Header) -> Fraction:
    """The shape of a pixel; 1 where it is not declared."""
    match = SAR.search(header.text)
    return Fraction(int(match[1]), int(match[2])) if match and int(match[1]) and int(match[2]) else Fraction(1)


def rate_of(header: Header) -> Fraction | None:
    """The declared frame rate (`tbr`, else `fps`) as printed with two decimals."""
    found = {unit: value for value, unit in RATE.findall(header.text)}
    value = found.get("tbr") or found.get("fps")
    if value is None:
        return None
    rate = Fraction(value.rstrip("k")) * (1000 if value.endswith("k") else 1)
    return rate if 0 < rate <= 1000 else None


def pixel_format_of(header: Header) -> tuple[str | None, list[str]]:
    """The pixel format and the words in brackets after it (range, colours, field order)."""
    if len(header.parts) < 2 or SIZE.match(header.parts[1]):
        return None, []
    name, _, rest = header.parts[1].partition("(")
    return name or None, _parts(rest.removesuffix(")")) if rest else []


def bit_depth_of(pixel_format: str | None) -> int:
    """Bits of one sample by the name of the pixel format."""
    match = DEPTH.search(pixel_format or "")
    return int(match[1]) if match else 8


def chroma_of(pixel_format: str | None) -> str:
    """How much colour is stored beside the luma: `4:2:0` and the like, `RGB` or `grey`."""
    name = pixel_format or ""
    if name.startswith(GREY):
        return "grey"
    if match := CHROMA.search(name):
        return ":".join(match[0])
    return next((chroma for chroma, names in PACKED.items() if name.startswith(names)), "RGB")


def has_alpha(pixel_format: str | None) -> bool:
    """Whether pictures may be transparent."""
    return bool(ALPHA.match(pixel_format or ""))


def channels_of(layout: str) -> int | None:
    """Channels of a layout as printed; None when the text is no layout."""
    if match := re.match(r"(\d+) channels", layout):
        return int(match[1])
    return CHANNELS.get(layout.partition("(")[0])
