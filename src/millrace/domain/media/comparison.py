"""Which frames of a film are shown beside what was made of them, and where reading begins for each. Pure."""

from millrace.domain.media.chunks import INDEXED, source_stream, starts, unit_frames
from millrace.domain.media.outputs import Plan, VideoOutput
from millrace.domain.media.probe import Probe
from millrace.domain.media.split import Chunk

FOLDER = "comparison"
"""Where the pictures lie below the output."""


def moments(plan: Plan, probe: Probe | None, count: int) -> tuple[Chunk, ...]:
    """So many frames of the grid, each as a chunk of one frame: the middle of each of as many equal parts of the film."""
    if not plan.videos or count < 1:
        return ()
    count = min(count, plan.frames)
    found = []
    for number in range(count):
        frame = (2 * number + 1) * plan.frames // (2 * count)
        found.append(Chunk(number=number, first=frame, end=frame + 1))
    pictures, source = plan.pictures, source_stream(plan, probe)
    if pictures is None or probe is None or source is None or not set(INDEXED) & set(probe.formats):
        return tuple(found)  # read from the beginning: a seek could land too late
    begins, unit = starts(plan, pictures, probe, source), unit_frames(plan)
    return tuple(
        Chunk(number=one.number, first=one.first, end=one.end, seek=start.seek if start else None)
        for one in found
        for start in (begins[one.first // unit],)
    )


def picture(rendition: str, moment: Chunk) -> str:
    """The path of a picture below the folder of the output."""
    return f"{FOLDER}/{rendition}-{moment.number + 1}.png"


def caption(video: VideoOutput, moment: Chunk) -> tuple[str, str]:
    """What stands above the two halves."""
    minutes, seconds = divmod(float(moment.first / video.rate), 60)
    return f"source {int(minutes)}:{seconds:06.3f}", f"{video.name} frame {moment.first}"
