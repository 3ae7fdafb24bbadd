"""Which pieces of a film are encoded to look for a quality, and what bounds the rate of a rendition. Pure."""

from collections.abc import Mapping
from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.media.chunks import INDEXED, source_stream, starts, unit_frames
from millrace.domain.media.outputs import Plan, VideoOutput
from millrace.domain.media.probe import Probe
from millrace.domain.media.profile import VideoCodec
from millrace.domain.media.quality_search import Choice, Search
from millrace.domain.media.split import Chunk
from millrace.domain.media.vmaf import Measure

PIECE_S = 2
"""Seconds of a piece. Many short ones say more of a film than a few long ones."""
FEWEST, MOST = 3, 12
FILM_PER_PIECE_S = 60
"""Pieces of a film: one for each minute, within those bounds."""
MOST_OF_THE_FILM = Fraction(1, 2)
UNINDEXED_EARLY_S = 10
"""How much earlier a piece is looked for where a seek may land late."""
_OLD = (
    "mpeg1video", "mpeg2video", "mpeg4", "msmpeg4v2", "msmpeg4v3", "h263", "flv1", "wmv1", "wmv2", "wmv3", "vc1", "vp8", "h264",
)  # fmt: skip
NO_BETTER = {
    VideoCodec.H264: _OLD,
    VideoCodec.H265: (*_OLD, "hevc", "vp9"),
    VideoCodec.VP9: (*_OLD, "hevc", "vp9"),
    VideoCodec.AV1: (*_OLD, "hevc", "vp9", "av1"),
}
"""Codecs that need at least as many bits as this one for the same picture. Those of cameras and editors are left out: their rate
bounds nothing."""


class ProbeEncode(Struct, frozen=True, kw_only=True):
    """A piece of the film, to be encoded as `video` says and compared with the film as `measure` says."""

    video: VideoOutput
    piece: Chunk
    measure: Measure

    @property
    def name(self) -> str:
        """Of the files that it makes."""
        return f"{self.video.name}-crf-{self.video.settings.crf:g}-{self.piece.number}"


def pieces(plan: Plan, probe: Probe | None) -> tuple[Chunk, ...]:
    """The pieces in order of time, each the beginning of a unit that could be a chunk, spread evenly over the film."""
    unit = unit_frames(plan)
    length = min(unit, max(1, int(PIECE_S * plan.videos[0].rate)), plan.frames)
    units = -(-plan.frames // unit)
    count = min(MOST, max(FEWEST, int(plan.duration / FILM_PER_PIECE_S)))
    count = max(1, min(count, units, int(plan.frames * MOST_OF_THE_FILM / length)))
    begins = _begins(plan, probe)
    chosen = [((2 * number + 1) * units - 1) // (2 * count) for number in range(count)]
    return tuple(
        Chunk(number=number, first=one * unit, end=min(one * unit + length, plan.frames), seek=begins.get(one))
        for number, one in enumerate(chosen)
    )


def _begins(plan: Plan, probe: Probe | None) -> dict[int, Fraction]:
    """Where reading begins for each unit that need not be read from the film's beginning."""
    source = source_stream(plan, probe)
    if plan.pictures is None or source is None or probe is None:
        return {}
    early = 0 if set(INDEXED) & set(probe.formats) else UNINDEXED_EARLY_S
    found = enumerate(starts(plan, plan.pictures, probe, source))
    return {unit: start.seek - early for unit, start in found if start is not None and start.seek > early}


def search_for(plan: Plan, video: VideoOutput, probe: Probe | None) -> Search:
    """What is searched for a rendition that names a quality. Raises ValueError for one that names none."""
    target = video.settings.quality
    if target is None:
        raise ValueError(f"cannot search a quality for {video.name}: it names none")
    bounds = []
    if target.max_bitrate_bps is not None:
        bounds.append((target.max_bitrate_bps, f"max_bitrate of {target.max_bitrate_bps / 1000:,.0f} kbit/s"))
    own = _rate_of_source(plan, video, probe)
    if own is not None:
        bounds.append((own, f"the source's own rate of {own / 1000:,.0f} kbit/s"))
    ceiling = min(bounds, default=(None, ""))
    return Search(codec=video.settings.codec, target=target, ceiling_bps=ceiling[0], ceiling=ceiling[1])


def _rate_of_source(plan: Plan, video: VideoOutput, probe: Probe | None) -> int | None:
    """The rate of the source, where more of it could not make a better picture: same size, and a codec that needs as many bits.

    It is that of the whole file, so sound is counted to the source's favour.
    """
    source = source_stream(plan, probe)
    if source is None or probe is None or not probe.size_bytes or not probe.duration:
        return None
    if source.codec not in NO_BETTER[video.settings.codec]:
        return None
    wide, high = source.display_size
    if video.size.width * video.size.height < wide * high * Fraction(9, 10):
        return None
    return int(probe.size_bytes * 8 / probe.duration)


def with_choices(plan: Plan, choices: Mapping[str, Choice]) -> Plan:
    """The plan with what was found for each rendition by name, and a note about each."""
    files = tuple(
        replace(
            file, video=replace(with_crf(file.video, choices[file.video.name].crf), search=choices[file.video.name])
        )
        if file.video and file.video.name in choices
        else file
        for file in plan.files
    )
    return replace(
        plan, files=files, notes=(*plan.notes, *(f"{name}: {found.note}" for name, found in choices.items()))
    )


def with_crf(video: VideoOutput, crf: float) -> VideoOutput:
    """The rendition with that CRF."""
    return replace(video, settings=replace(video.settings, crf=crf))
