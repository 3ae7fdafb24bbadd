"""Whatever the film, the profile and the farm: every frame is made once, and each chunk is read from early enough."""

from fractions import Fraction
from itertools import accumulate, cycle, pairwise, takewhile
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Struct

from millrace.domain.media.chunks import MOST_PARTS, NEIGHBOURS, PER_WORKER, SHORTEST, unit_frames, with_split
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan import plan
from millrace.domain.media.probe import Probe, VideoStream
from millrace.domain.media.profile_document import profile_from
from millrace.domain.media.rates import STANDARD_RATES
from millrace.domain.media.split import Chunk, Chunking
from millrace.engines.ffmpeg.codecs import seconds

CODECS = {
    "cmaf": ("h264", "h265", "av1"), "hls": ("h264",), "mp4": ("h264", "h265", "av1", "vp9"),
    "mkv": ("h264", "h265", "av1", "vp9"), "webm": ("av1", "vp9"),
}  # fmt: skip
CONTAINERS = (("mov", "mp4"), ("matroska", "webm"))
RATES = st.one_of(st.sampled_from(STANDARD_RATES), st.fractions(1, 120, max_denominator=1001))


class Source(Struct, frozen=True):
    """A film of any rate and length, with key frames at uneven distances, each decoded some frames before it is shown."""

    rate: Fraction
    frames: int
    distances: tuple[int, ...]
    start: Fraction
    reordered: int
    formats: tuple[str, ...]
    width: int
    field_order: str

    @property
    def probe(self) -> Probe:
        # Matroska knows whole milliseconds only.
        ticks = 1000 if "matroska" in self.formats else 1_000_000_007
        places = takewhile(lambda place: place < self.frames, accumulate(cycle(self.distances), initial=0))
        keys = tuple(Fraction(round((self.start + place / self.rate) * ticks), ticks) for place in places)
        length = self.frames / self.rate
        stream = VideoStream(
            index=0,
            codec="h264",
            width=self.width,
            height=1080,
            frame_rate=self.rate,
            frames=self.frames,
            start=self.start,
            end=self.start + length,
            field_order=self.field_order,
            keyframes=keys,
            key_decoding=tuple(key - self.reordered / self.rate for key in keys),
        )
        return Probe(formats=self.formats, start=self.start, duration=length, video=(stream,))


SOURCES = st.builds(
    Source,
    rate=RATES,
    frames=st.integers(2, 10_000),
    distances=st.lists(st.integers(1, 400), min_size=1, max_size=20).map(tuple),
    start=st.integers(0, 30_000).map(lambda ms: Fraction(ms, 1000)),
    reordered=st.integers(0, 5),
    formats=st.sampled_from(CONTAINERS),
    width=st.sampled_from((640, 1920, 3840)),
    field_order=st.sampled_from(("progressive", "tt")),
)


@st.composite
def profiles(draw: st.DrawFn) -> dict[str, Any]:
    packaging = draw(st.sampled_from(sorted(CODECS)))
    codec = draw(st.sampled_from(CODECS[packaging]))
    video: dict[str, Any] = {"codec": codec, "height": 360}
    if (cap := draw(st.sampled_from((None, 24, 25, 30, 50)))) is not None:
        video["fps"] = cap
    length = draw(st.sampled_from((0.5, 1, 2, 4, 6, 10)))
    gop = length / draw(st.sampled_from((1, 2, 4)))
    times = {"segment_s": length, "gop_s": gop} if packaging in ("cmaf", "hls") else {"gop_s": gop}
    return {"name": "t", "packaging": packaging, "renditions": [{"name": "one", "video": video}], **times}


@settings(deadline=None)
@given(
    source=SOURCES,
    document=profiles(),
    cores=st.integers(1, 64),
    helpers=st.integers(0, 300),
    each=st.integers(1, PER_WORKER),
    chunking=st.sampled_from((Chunking.AUTO, Chunking.ALWAYS)),
)
def test_every_frame_of_any_film_is_made_once_by_any_farm(
    source: Source, document: dict[str, Any], cores: int, helpers: int, each: int, chunking: Chunking
) -> None:
    film = source.probe
    whole = plan(profile_from(document), film)
    made = with_split(whole, film, cores=cores, chunking=chunking, helpers=helpers, each=each)
    chunks, unit = made.split.chunks, unit_frames(made)
    if not chunks:
        assert made.split.reason.startswith("whole: ")
        return
    assert 2 <= len(chunks) <= max(MOST_PARTS, 3 * cores)
    assert [chunk.number for chunk in chunks] == list(range(len(chunks)))
    assert (chunks[0].first, chunks[0].seek, chunks[-1].end) == (0, None, made.frames)
    assert all(one.end == other.first for one, other in pairwise(chunks))
    assert all(chunk.frames >= SHORTEST and chunk.first % unit == 0 for chunk in chunks[1:])
    assert unit % made.videos[0].gop_frames == 0
    for chunk in chunks[1:]:
        _is_read_from_early_enough(chunk, film, made)


def _is_read_from_early_enough(chunk: Chunk, film: Probe, made: Plan) -> None:
    """A demuxer goes by presentation or by decoding times: whichever it is, the key frame that it finds is none too late."""
    source = film.video[0]
    assert chunk.seek is not None
    seek = Fraction(seconds(chunk.seek)) + film.start
    last = chunk.first - (NEIGHBOURS if source.interlaced else 0) + Fraction(1, 2)
    for times in (source.keyframes, source.key_decoding):
        found = max((number for number, time in enumerate(times) if time <= seek), default=0)
        assert (source.keyframes[found] - film.start) * made.videos[0].rate < last
