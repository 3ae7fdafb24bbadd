"""Schedules: jobs that are submitted again and again."""

from datetime import datetime
from typing import Annotated

import msgspec

from millrace.domain.schedules import Missed, Outcome, Overlap
from millrace.domain.states import State
from millrace.wire.v1.base import Document, Reply, Request
from millrace.wire.v1.jobs import JobRequest


class ScheduleRequest(Request):
    """Submit `job` whenever `cron` comes due in `zone`. In its input and output, `{due}` stands for that time, such as
    `2026-03-29T0300`.
    """

    name: Annotated[
        str,
        msgspec.Meta(
            pattern=r"^[A-Za-z0-9._-]{1,64}$(?!\n)", description="What people call it; each of a tenant has another."
        ),
    ]
    cron: Annotated[
        str,
        msgspec.Meta(
            min_length=1,
            max_length=200,
            description="Five fields: minute, hour, day of the month, month, day of the week; or a word such as `@daily`.",
            examples=["30 3 * * *"],
        ),
    ]
    job: Annotated[
        JobRequest, msgspec.Meta(description="As `POST /v1/jobs` takes it; whose it is, is whose the schedule is.")
    ]
    zone: Annotated[
        str,
        msgspec.Meta(
            min_length=1, max_length=64, description="A time zone by its IANA name.", examples=["Europe/Berlin"]
        ),
    ] = "UTC"
    overlap: Annotated[
        Overlap,
        msgspec.Meta(
            description="What becomes of a time while the last job has not ended: it is skipped (`forbid`), its job runs beside "
            "the other (`allow`), or in its place (`replace`)."
        ),
    ] = Overlap.FORBID
    missed: Annotated[
        Missed,
        msgspec.Meta(
            description="What becomes of times that came while no master was there: one late job for all of them (`once`), or "
            "none (`skip`)."
        ),
    ] = Missed.ONCE
    paused: bool = False


class ScheduleView(Reply, kw_only=True):
    """A schedule. `due` is when it comes due next, null while it is paused; `last_job` is the number of its last job."""

    id: str
    name: str
    tenant: str
    cron: str
    zone: str
    overlap: Overlap
    missed: Missed
    paused: bool
    due: datetime | None
    last_job: int | None
    last_state: State | None
    created: datetime
    actor: str


class RunView(Reply):
    """One time that came due: when, when it was seen, by whom it was wanted, and what became of it."""

    due: datetime
    at: datetime
    actor: str
    outcome: Outcome
    reason: str
    job: int | None
    state: State | None


class ScheduleDetail(ScheduleView, kw_only=True):
    """A schedule with its job and its last runs, newest first."""

    job: Document
    runs: list[RunView]


class ScheduleList(Reply):
    """Schedules, by tenant and name."""

    schedules: list[ScheduleView]
