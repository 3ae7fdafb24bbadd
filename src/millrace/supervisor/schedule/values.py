"""What a plan says of a scheduled process. Frozen values; times are seconds."""

from enum import StrEnum

from msgspec import Struct


class Overlap(StrEnum):
    """What becomes of a tick while the run before it goes on."""

    FORBID = "forbid"  # it is skipped
    QUEUE = "queue"  # it gets its run afterwards
    REPLACE = "replace"  # the run that goes on is stopped for it


class Heartbeat(Struct, frozen=True, kw_only=True):
    """Who is told of runs: a URL for each that starts, ends well, or does not. An empty URL is not asked.

    `retries` are attempts after the first, `retry_delay_s` apart.
    """

    start_url: str = ""
    success_url: str = ""
    failure_url: str = ""
    method: str = "POST"
    timeout_s: float = 30.0
    retries: int = 2
    retry_delay_s: float = 5.0


class Schedule(Struct, frozen=True, kw_only=True):
    """When a process runs: five cron fields in a time zone of IANA's names. `timeout_s` 0 is no limit."""

    expression: str
    zone: str = "UTC"
    timeout_s: float = 0.0
    overlap: Overlap = Overlap.FORBID
    heartbeat: Heartbeat | None = None
