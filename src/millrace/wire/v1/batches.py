"""Batches: many jobs as one submission."""

from datetime import datetime
from typing import Annotated

import msgspec

from millrace.domain.states import State
from millrace.wire.v1.base import Document, Reply, Request
from millrace.wire.v1.jobs import DEFAULT_TENANT, FailureView
from millrace.wire.v1.problems import FieldError

MOST_JOBS = 10_000
"""Jobs in one batch: they are accepted in one transaction, during which nobody else is served by the database."""


class BatchRequest(Request):
    """Many jobs, of which all are accepted or none. Each is what `POST /v1/jobs` takes, without a tenant of its own."""

    jobs: Annotated[
        list[Document],
        msgspec.Meta(
            min_length=1,
            max_length=MOST_JOBS,
            description="Each as the body of `POST /v1/jobs`.",
            examples=[[{"input": "/media/a.mp4", "profile": "web-hls"}, {"input": "/media/b.mp4"}]],
        ),
    ]
    name: Annotated[str, msgspec.Meta(max_length=200, description="What people call it.")] = ""
    tenant: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$(?!\n)")] = DEFAULT_TENANT
    skip_bad: Annotated[
        bool,
        msgspec.Meta(description="Leave out jobs that are wrong, and accept the others. Without it, one refuses all."),
    ] = False


class BatchView(Reply, kw_only=True):
    """A batch as it stands. `total` jobs were accepted; `counts` are of those that are still there, by state; `ended` have ended, or
    are past their retention; `fraction` goes from 0 to 1, and each job counts the same.
    """

    id: str
    name: str
    tenant: str
    total: int
    counts: dict[State, int]
    ended: int
    done: bool
    fraction: float
    created: datetime
    actor: str


class FailedJob(Reply):
    """A job of a batch that did not complete, and why."""

    job: str
    number: int
    state: State
    input: str | None
    failure: FailureView | None


class SkippedJob(Reply):
    """A job that was left out: its place in the request from 0, and what is wrong with it."""

    place: int
    errors: list[FieldError]


class BatchDetail(BatchView, kw_only=True):
    """A batch with the first of its jobs that did not complete (all of them: `GET /v1/batches/{id}/jobs?state=failed`), and in the
    answer to its submission the jobs that were left out.
    """

    failed: list[FailedJob]
    skipped: list[SkippedJob] = []


class BatchList(Reply):
    """A page of batches, newest first; `next` is the cursor of the next page."""

    batches: list[BatchView]
    next: str | None


class SteerBatchRequest(Request):
    """A page of a batch's jobs, in the order of their submission. `after` is the `next` of the answer before."""

    after: Annotated[str, msgspec.Meta(max_length=32)] | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=500)] = 100


class SteerBatchReply(Reply):
    """The numbers of the jobs that were changed, and of those that could not be, with why; `next` is where to go on, null at the end."""

    changed: list[int]
    passed_over: dict[str, str]
    next: str | None
