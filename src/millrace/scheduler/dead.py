"""Dead letters: jobs that failed for good although what they failed of may go away. Find them, and run them again."""

from collections.abc import Iterable, Sequence

from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.failures import FailureClass
from millrace.domain.retry import TRANSIENT
from millrace.domain.states import State
from millrace.scheduler.errors import ConflictError, NotFoundError, QuotaError
from millrace.scheduler.farm import Farm
from millrace.scheduler.steer import retry
from millrace.store.store import JobFilter


def dead(only: JobFilter, classes: Iterable[FailureClass] = ()) -> JobFilter:
    """Of what `only` lets through the dead jobs: those that ended with one of these classes, or with any of the platform's."""
    return replace(only, states=frozenset({State.FAILED}), failures=frozenset(classes) or TRANSIENT)


class Retried(Struct, frozen=True):
    """The numbers of the jobs that run again, and where to go on; None at the end."""

    numbers: Sequence[int]
    cursor: str | None


async def retry_dead(farm: Farm, only: JobFilter, *, cursor: str | None, limit: int, actor: str) -> Retried:
    """Run up to `limit` dead jobs again, newest first, each with its history kept. What has moved on meanwhile is passed over.

    Raises:
        ValueError: the cursor is none.
        QuotaError: a tenant's quota let none of them run again.
    """
    page = await farm.store.jobs(only, cursor=cursor, limit=limit)
    numbers = []
    over: QuotaError | None = None
    for job in page.jobs:
        try:
            await retry(farm, job.id, actor=actor)
        except (ConflictError, NotFoundError):
            continue
        except QuotaError as error:
            over = error
            continue
        numbers.append(job.number)
    if over is not None and not numbers:
        raise over
    return Retried(numbers, page.next_cursor)
