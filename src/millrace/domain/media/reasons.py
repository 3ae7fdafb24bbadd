"""Why a film is encoded as it is, in words for people. Pure: what is said follows from what was weighed, and nothing else."""

from millrace.domain.media.outputs import Plan
from millrace.domain.media.profile import Packaging
from millrace.domain.media.split import Course, Decision, Way


def reason(decision: Decision) -> str:
    """Why the film is encoded whole, in chunks, or on several workers: one sentence."""
    taken = {way.course: way for way in decision.ways}
    cut, shared = taken.get(Course.CHUNKS), taken.get(Course.SPREAD)
    if cut is None:
        here = f"whole: {decision.obstacle}"
    else:
        whole, alone = decision.ways[0], decision.cores
        gain = f"{cut.time_s / whole.time_s:.2f} of the time for the whole on {alone} core{'s' * (alone > 1)}"
        here = (
            f"{cut.chunks} chunks of whole pieces of {decision.unit} frames: expected {gain}, {_repeated(cut)}"
            if decision.here
            else f"whole: {cut.chunks} chunks would take {gain}"
        )
    if shared is None:
        return here
    part = shared.time_s / decision.ways[decision.here].time_s
    if decision.ways[decision.chosen] is shared and decision.arriving:
        return f"{shared.chunks} chunks, each begun as soon as its part of the upload has arrived, {_repeated(shared)}"
    if decision.ways[decision.chosen] is shared:
        return f"{shared.chunks} chunks on {shared.workers} workers: expected {part:.2f} of the time on one, {_repeated(shared)}"
    return f"{here}; on {shared.workers} workers it would take {part:.2f} of that"


def _repeated(way: Way) -> str:
    return f"with {way.repeated} frames decoded twice"


STEPS = ("pictures", "quality", "sound", "packaging", "verification")
"""What is done with a film, in this order."""


def steps(plan: Plan) -> dict[str, str]:
    """A sentence for each of `STEPS` that there is, by its name."""
    texts = (_pictures(plan), _quality(plan), _sound(plan), _packaging(plan), _verification(plan))
    return {name: text for name, text in zip(STEPS, texts, strict=True) if text}


def _pictures(plan: Plan) -> str:
    if plan.sprites:
        sprites = plan.sprites
        return (
            f"decoded once; {sprites.count} of {sprites.size.width}x{sprites.size.height}, one every {float(sprites.interval):g} s, "
            f"in {_many(sprites.files, 'sprite')}"
        )
    if not plan.videos:
        return ""
    made = [f"{one.name} ({one.size.width}x{one.size.height} {one.settings.codec})" for one in plan.videos]
    begin = "generated" if plan.generated else f"decoded once{'' if plan.split.is_whole else ' for each chunk'}"
    shared = " for all renditions, each scaled from the one above" if len(made) > 1 else ""
    gop = plan.videos[0].gop_frames
    passes = "; the film is read twice, since rates are kept in two passes" if plan.is_two_pass else ""
    return f"{begin}{shared}: {', '.join(made)}; a key frame every {_many(gop, 'frame')}{passes}"


def _quality(plan: Plan) -> str:
    parts = []
    for video in plan.videos:
        if video.search is not None:
            parts.append(f"CRF {video.search.crf:g} for {video.name} was found to give VMAF {video.search.vmaf:.1f}")
        elif video.settings.quality is not None:
            parts.append(f"a CRF for {video.name} is searched that gives VMAF {video.settings.quality.vmaf:g}")
    return "; ".join(parts)


def _sound(plan: Plan) -> str:
    tracks = [
        f"{one.settings.codec} {_many(one.channels, 'channel')}{f' {one.language}' if one.language else ''}"
        for one in dict.fromkeys(track for file in plan.files for track in file.audio)
    ]
    if not tracks:
        return "" if plan.sprites else "none"
    beside = "" if plan.split.is_whole else ", beside the chunks"
    return f"encoded once, from the beginning to the end{beside}: {', '.join(tracks)}"


def _packaging(plan: Plan) -> str:
    kind = plan.packaging
    if kind is Packaging.THUMBNAILS:
        return "sprites with a WebVTT file that says which picture is whose moment"
    if kind is Packaging.CMAF:
        return f"segments of {float(plan.segment):g} s, one set for HLS and DASH"
    if kind is Packaging.HLS:
        return f"segments of {float(plan.segment):g} s in MPEG-TS, with the playlists of HLS"
    joined = "" if plan.split.is_whole else ", copied from the joined chunks without encoding again"
    return f"{_many(len(plan.files), 'file')} ({kind}){joined}"


def _verification(plan: Plan) -> str:
    parts = ["every file is read back and compared with the plan"]
    if plan.videos:
        parts.append(f"{_many(plan.frames, 'frame')} in each rendition")
    if not plan.split.is_whole:
        joins = len(plan.split.chunks) - 1
        parts.append(f"the frames of each chunk, the times across {_many(joins, 'join')}, one header for all chunks")
    compared = [one.name for one in plan.videos if one.vmaf]
    if compared:
        parts.append(f"VMAF of {', '.join(compared)} against the source")
    return "; ".join(parts)


def _many(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
