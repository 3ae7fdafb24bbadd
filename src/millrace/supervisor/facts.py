"""What is known of an instance beside its state: which process it is at present, and how it ended the last time."""

from datetime import datetime

from msgspec import Struct

from millrace.supervisor.happenings import Why


class LastEnd(Struct, frozen=True, kw_only=True):
    """An end. `code` is None where a signal ended it, `signal` where none did."""

    at: datetime
    how: str
    why: Why
    code: int | None = None
    signal: int | None = None


class Facts(Struct, frozen=True, kw_only=True):
    """`pid` and `started` are those of the process that runs; None where none does. `spent_s` is the CPU time of the runs before."""

    pid: int | None = None
    started: datetime | None = None
    last_end: LastEnd | None = None
    spent_s: float = 0.0
