"""Reader of the JSON log of libvmaf (libvmaf/src/output.c): a score for every frame that was compared."""

import msgspec
from msgspec import Struct

from millrace.domain.failures import Failure, FailureClass
from millrace.engines.engine import EngineFailure

BYTES_PER_FRAME = 2048
"""What no entry reaches: with the default features it has 600 (measured on FFmpeg 9.0.2)."""


class _Metrics(Struct, frozen=True):
    vmaf: float


class _Frame(Struct, frozen=True, rename="camel"):
    frame_num: int
    metrics: _Metrics


class _Log(Struct, frozen=True):
    frames: tuple[_Frame, ...]


def read_scores(log: bytes) -> tuple[tuple[int, float], ...]:
    """Pairs of a frame, counted from 0, and its VMAF, as the log has them.

    Raises:
        EngineFailure: class engine; the log is no such log.
    """
    try:
        frames = msgspec.json.decode(log, type=_Log).frames
    except msgspec.MsgspecError as error:
        sentence = f"cannot read what the comparison found: {error}"
        raise EngineFailure(Failure(failure_class=FailureClass.ENGINE, message=sentence)) from error
    return tuple((frame.frame_num, frame.metrics.vmaf) for frame in frames)
