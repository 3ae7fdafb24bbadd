"""What a plan says of a scheduled process. Frozen values; times are seconds."""

from enum import StrEnum

from msgspec import Struct

MOST_AT_ONCE = 1000
"""How many runs of one process may go on at once where a plan gives no bound."""


class Overlap(StrEnum):
    """What becomes of a tick while as many runs go on as may."""

    FORBID = "forbid"  # it is skipped; one run goes on at a time
    ALLOW = "allow"  # it is skipped; several runs go on side by side
    QUEUE = "queue"  # it gets its run afterwards
    REPLACE = "replace"  # the oldest run that goes on is stopped for it


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
    """When a process runs: five cron fields in a time zone of IANA's names. `timeout_s` 0 is no limit.

    So many runs may go on at once as `max_concurrent` says; 0 is no bound but `MOST_AT_ONCE`.
    """

    expression: str
    zone: str = "UTC"
    timeout_s: float = 0.0
    overlap: Overlap = Overlap.FORBID
    max_concurrent: int = 1
    heartbeat: Heartbeat | None = None

    @property
    def at_once(self) -> int:
        """How many runs may go on at once."""
        return self.max_concurrent or MOST_AT_ONCE
