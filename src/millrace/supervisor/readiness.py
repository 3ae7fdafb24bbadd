"""What a plan says of its readiness file. Frozen values."""

from enum import StrEnum
from pathlib import Path

from msgspec import Struct


class Bar(StrEnum):
    """What makes a process count; the words are the predecessor's."""

    HEALTHY = "all_healthy"  # it is ready
    RUNNING = "all_running"  # it is there, whatever its health check says


class Readiness(Struct, frozen=True, kw_only=True):
    """A file that is there if and only if all of `processes` (names) are ready; `content` is what it holds."""

    path: Path
    processes: tuple[str, ...]
    content: str = "ready\n"
    bar: Bar = Bar.HEALTHY
