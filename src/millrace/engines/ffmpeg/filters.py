"""The filter graph: the source decoded once, each rendition scaled from the one above it (a cascade)."""

from collections.abc import Collection, Sequence
from fractions import Fraction

from millrace.domain.media.damage import Mending, Span
from millrace.domain.media.ladder import Size
from millrace.domain.media.outputs import SAMPLE_RATE_HZ, AudioOutput, Pictures, Plan
from millrace.domain.media.split import Chunk
from millrace.engines.ffmpeg.hardware import UPLOAD

START = ":start_time=0"
HOLE_S = 0.005
"""A hole in damaged sound that is filled at once: less than any packet lasts, and more than the times of containers in milliseconds
are off by. By default FFmpeg waits for 0.1 s, and the sound comes early until then."""
DEINTERLACE = "bwdif=mode=send_frame:parity=auto:deint="
TO_YUV = "scale=out_color_matrix=bt709:out_range=tv,format=yuv444p|yuv444p10,setparams=colorspace=bt709:range=tv"
"""Left to itself FFmpeg takes the matrix of BT.601 and says nothing of it, and players show the colours of BT.709."""
TONEMAP = (
    "zscale=t=linear:npl=203,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=mobius:desat=0:peak=5,"
    "zscale=t=bt709:m=bt709:p=bt709:r=tv"
)
"""PQ or HLG to BT.709 through linear light. 203 cd/m2 is the white of graphics (ITU-R BT.2408), five times that the
brightest highlight kept. Measured on grey: 64, 128, 180, 235 come back as 64, 129, 177, 210; the usual recipe (hable,
npl=100) gives 59, 113, 151, 184."""
WORDLESS = "sidedata=mode=delete"
"""Takes away what is said beside the samples: what was true of a display of high dynamic range is not of the standard one."""
STATIC = ",".join(f"{WORDLESS}:type={kind}" for kind in ("DYNAMIC_HDR_PLUS", "DOVI_RPU_BUFFER", "DOVI_METADATA"))
"""The same for what changes from scene to scene. Encoders differ in what of it they write, if any, and no plan could say it."""


def ladder_graph(
    plan: Plan, pictures: Pictures, forms: Sequence[str], chunk: Chunk | None = None, *, without: Collection[int] = ()
) -> str:
    """One graph with an output pad `[v0]`, `[v1]`... for every rendition, largest first. `forms` are the filters that end each chain;
    a `chunk` keeps its places only.

    Renditions `without` a pad are there already; those below are scaled from their size all the same, so that their bits stay as they
    are. Only where all have the same depth (`is_separable`).
    """
    wanted = [number for number in range(len(plan.videos)) if number not in without]
    depths = {video.settings.bit_depth for video in plan.videos}
    shared = len(depths) == 1 and not any(UPLOAD in form for form in forms)
    chains = []
    kept = places(chunk, to_the_end=chunk is plan.split.chunks[-1], ahead=plan.ahead) if chunk else START
    feed = f"[0:{pictures.stream}]{on_grid(pictures, kept, mended(pictures, plan.mending))}"
    for number, (video, form) in enumerate(zip(plan.videos[: wanted[-1] + 1], forms, strict=False)):
        # A rung that is scaled from the one above needs that one's depth, or the first rung's rounding would stay; and what lies in
        # the memory of a card is scaled no more.
        scale = scaled(video.size)
        if number == wanted[-1]:
            chains.append(f"{feed}{scale},{form}[v{number}]")
        elif number in without:
            feed += f"{scale},{form},"
            continue
        elif shared:
            chains.append(f"{feed}{scale},{form},split=2[v{number}][s{number}]")
        else:
            chains.append(f"{feed}{scale},split=2[d{number}][s{number}]")
            chains.append(f"[d{number}]{form}[v{number}]")
        feed = f"[s{number}]"
    return ";".join(chains)


def ladder_options(
    plan: Plan, pictures: Pictures, forms: Sequence[str], chunk: Chunk | None = None, *, without: Collection[int] = ()
) -> tuple[str, ...]:
    """The graph as options.

    FFmpeg 9 gives what is said beside the samples to the first encoder of a graph alone, so that the lower renditions of a ladder would
    tell of no display. There each output passes through a graph of its own (from FFmpeg 7.1 on).
    """
    graph = ladder_graph(plan, pictures, forms, chunk, without=without)
    made = [number for number in range(len(plan.videos)) if number not in without]
    if pictures.hdr is None or len(made) < 2:
        return ("-filter_complex", graph)
    for number in made:
        graph = graph.replace(f"[v{number}]", f"[h{number}]")
    return (
        "-filter_complex",
        graph,
        *(word for number in made for word in ("-filter_complex", f"[h{number}]null[v{number}]")),
    )


def is_separable(plan: Plan) -> bool:
    """Whether each rendition has the same bits whichever others are made beside it.

    Where depths differ, what the filters agree on as the form of a picture between two rungs depends on all of them.
    """
    return len({video.settings.bit_depth for video in plan.videos}) <= 1


def sprite_graph(plan: Plan, pictures: Pictures) -> str:
    """One picture for each interval, set in grids; the last grid is filled up with black."""
    sprites = plan.sprites
    if sprites is None:
        raise ValueError("cannot make sprites from a plan without sprites")
    settings = sprites.settings
    frames = sprites.interval * pictures.rate
    # Counted in whole frames, because times as floating numbers miss a boundary now and then.
    bucket = f"floor({{}}*{frames.denominator}/{frames.numerator})"
    first_of_each = f"eq(n,0)+gt({bucket.format('n')},{bucket.format('(n-1)')})"
    scale = f"scale={sprites.size.width}:{sprites.size.height}:flags=area,setsar=1,format=yuvj420p"
    tile = f"tile={settings.columns}x{settings.rows}"
    grid = on_grid(pictures, START, mended(pictures, plan.mending))
    return f"[0:{pictures.stream}]{grid}select='{first_of_each}',{scale},{tile}[v0]"


def audio_filter(audio: AudioOutput, mending: Mending | None) -> str:
    """Silence where the sound begins late or has holes, so that it stays in step with the pictures."""
    if mending is None:
        return "aresample=async=1:first_pts=0"
    length = f"apad=whole_len={_sample(audio.duration)}"
    return (
        f"aresample={SAMPLE_RATE_HZ}:async=1:min_hard_comp={HOLE_S}:first_pts=0,{_sound_without(mending.cuts)}{length}"
    )


def _sound_without(cuts: Sequence[Span]) -> str:
    """Sample for sample what stands beside the pictures that are kept."""
    if not cuts:
        return ""
    pieces, made = [], Fraction(0)
    ends = [*(cut.start for cut in cuts), None]
    for start, end in zip((Fraction(0), *(cut.end for cut in cuts)), ends, strict=True):
        first = _sample(start)
        # Joins are rounded where they come to stand, so that no error adds up.
        if end is None:
            pieces.append(f"start_sample={first}")
        elif end > start:
            pieces.append(f"start_sample={first}:end_sample={first + _sample(made + end - start) - _sample(made)}")
            made += end - start
    names = range(len(pieces))
    split = f"asplit={len(pieces)}{''.join(f'[i{name}]' for name in names)}"
    trimmed = (
        f"[i{name}]atrim={piece},asetpts=PTS-STARTPTS[o{name}]" for name, piece in zip(names, pieces, strict=True)
    )
    joined = f"{''.join(f'[o{name}]' for name in names)}concat=n={len(pieces)}:v=0:a=1,"
    return ";".join((split, *trimmed, joined))


def _sample(time: Fraction) -> int:
    return round(time * SAMPLE_RATE_HZ)


def mended(pictures: Pictures, mending: Mending | None) -> str:
    """Behind the grid of a damaged source: all places of the grid, though its last pictures may be lost, without those that are cut out."""
    if mending is None:
        return ""
    cuts = [(int(cut.start * pictures.rate), int(cut.end * pictures.rate)) for cut in mending.cuts]
    whole = pictures.frames + sum(end - first for first, end in cuts)
    filled = f"tpad=stop=-1:stop_mode=clone,trim=end_frame={whole},"
    if not cuts:
        return filled
    out = "+".join(f"between(n,{first},{end - 1})" for first, end in cuts)
    return f"{filled}select='not({out})',setpts=N,"


def on_grid(pictures: Pictures, places: str, mended: str = "") -> str:
    """Whole pictures at a constant rate from time 0; the decoder has turned them upright already."""
    deinterlace = f"{DEINTERLACE}{'interlaced' if pictures.only_marked else 'all'}," if pictures.deinterlace else ""
    if pictures.from_rgb:
        deinterlace += f"{TO_YUV},"
    tonemap = f"{TONEMAP},{WORDLESS}," if pictures.tonemap else f"{STATIC}," if pictures.hdr else ""
    captions = "" if pictures.captions else f"{WORDLESS}:type=A53_CC,"
    return f"{deinterlace}fps={ratio(pictures.rate)}{places},{captions}{mended}{tonemap}"


def places(chunk: Chunk, *, to_the_end: bool, ahead: int = 0) -> str:
    """The places of the grid that a chunk keeps, and so many `ahead`. The film's last chunk goes on to the source's end, as the whole
    would.
    """
    bounds = {"start_pts": chunk.first, "end_pts": 0 if to_the_end else chunk.end + ahead}
    kept = ":".join(f"{name}={place}" for name, place in bounds.items() if place)
    # Only the first chunk fills up from time 0: in another one that would hide a seek that landed too late.
    return f"{'' if chunk.first else START},trim={kept}"


def scaled(size: Size) -> str:
    """Brought to that size in square pixels."""
    return f"scale={size.width}:{size.height}:flags=bicubic,setsar=1"


def ratio(value: Fraction) -> str:
    """An exact rate as filters take it."""
    return str(value.numerator) if value.denominator == 1 else f"{value.numerator}/{value.denominator}"
