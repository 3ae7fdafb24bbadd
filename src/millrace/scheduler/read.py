"""Find jobs by what people call them."""

from millrace.domain import ids
from millrace.domain.records import Job
from millrace.scheduler.errors import NotFoundError
from millrace.store.store import Store

_MAX_NUMBER_DIGITS = 18


async def find_job(store: Store, ref: str) -> Job:
    """A job by its number (only digits, and no needless zero) or by its id (which begins with a letter).

    Raises:
        NotFoundError: there is no such job.
    """
    job = None
    if ref.isascii() and ref.isdigit() and len(ref) <= _MAX_NUMBER_DIGITS:
        # A number has one spelling: `01` would be another name of 1 in logs, caches and rules of access.
        if ref.startswith("0"):
            raise NotFoundError(f"there is no job {ref!r}; a number begins with no zero")
        job = await store.job(int(ref))
    elif ids.is_job_id(ref):
        job = await store.job(ref)
    if job is None:
        raise NotFoundError(f"there is no job {ref[:64]!r}; name one by its number, such as 42, or by its whole id")
    return job
