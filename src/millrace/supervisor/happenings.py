"""What a keeper tells of what it did, once it is over: for whoever counts, keeps a record, or traces. Frozen values."""

from datetime import datetime
from enum import StrEnum

from msgspec import Struct

from millrace.supervisor.hooks import Moment
from millrace.supervisor.schedule.jobs import Run
from millrace.supervisor.state import Id, Instance, Phase


class Why(StrEnum):
    """Why a process is no longer there."""

    ASKED = "asked"  # somebody stopped it, or the next run took its place
    UNHEALTHY = "unhealthy"  # its health check failed
    WELL = "well"  # it ended by itself with a code that means success
    CRASH = "crash"  # it ended by itself in another way


class RunEnded(Struct, frozen=True, kw_only=True):
    """A process of an instance has ended. `code` is None where a signal ended it, `signal` (its number) where none did."""

    id: Id
    run: int
    began: datetime
    ended: datetime
    code: int | None
    signal: int | None
    how: str
    why: Why


class Restarted(Struct, frozen=True, kw_only=True):
    """A process was started that had run before; `why` it had ended."""

    id: Id
    why: Why


class Checked(Struct, frozen=True, kw_only=True):
    """A health check was answered; `fault` None: well."""

    id: Id
    run: int
    kind: str
    at: datetime
    took_s: float
    fault: str | None


class HookRan(Struct, frozen=True, kw_only=True):
    """One attempt of a hook is over; `fault` None: it worked. `id` None: a hook of the whole."""

    id: Id | None
    moment: Moment
    hook: str
    attempt: int
    at: datetime
    took_s: float
    fault: str | None


class JobRan(Struct, frozen=True):
    """A run of a scheduled process has ended."""

    process: str
    run: Run


class SignSent(Struct, frozen=True, kw_only=True):
    """A monitor was told of a run of a scheduled process; `fault` None: it heard."""

    process: str
    sign: str
    at: datetime
    took_s: float
    fault: str | None


Happening = RunEnded | Restarted | Checked | HookRan | JobRan | SignSent


def why_ended(before: Instance | None, code: int | None, success_codes: frozenset[int]) -> Why:
    """Why a process ended, by what was known of its instance just before."""
    if before is not None and before.phase is Phase.STOPPING:
        return Why.UNHEALTHY if before.unwell else Why.ASKED
    return Why.WELL if code is not None and code in success_codes else Why.CRASH
