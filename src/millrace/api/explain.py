"""Why a verb refused, as HTTP says it: one place for the whole API."""

from millrace.blobs.values import BlobsFull, BlobsRefused, BlobsUnavailable
from millrace.domain.states import IllegalTransitionError
from millrace.edge.refusal import RefusalError
from millrace.scheduler.errors import (
    ConflictError,
    InvalidError,
    KeyReusedError,
    NotFoundError,
    QuotaError,
    StaleAttemptError,
    StaleEpochError,
    SupersededError,
)
from millrace.scheduler.space import Space
from millrace.store.store import StoreFullError, StoreUnavailableError
from millrace.telemetry.logs import logger
from millrace.wire.v1.problems import FieldError, QuotaProblem

log = logger("api")

RETRY_AFTER_S = 2
NO_SPACE = "there is no space left for the database; free some"

_SAID_AS_IT_IS: tuple[tuple[type[Exception], int, str], ...] = (
    (NotFoundError, 404, "not-found"),
    (ConflictError, 409, "conflict"),
    (IllegalTransitionError, 409, "conflict"),
    (StaleAttemptError, 409, "stale-attempt"),
    (StaleEpochError, 409, "stale-epoch"),
    (SupersededError, 409, "superseded"),
)
# The words of these may hold addresses and paths of this installation; they are for the log, not for callers.
_SAID_IN_OUR_WORDS: tuple[tuple[type[Exception], int, str, str], ...] = (
    (BlobsFull, 507, "storage-full", "cannot keep it: there is no space left for files; free some"),
    (StoreUnavailableError, 503, "unavailable", "cannot answer now: the database does not answer; try again soon"),
    (BlobsUnavailable, 503, "unavailable", "cannot answer now: the storage does not answer; try again soon"),
    (BlobsRefused, 503, "unavailable", "cannot answer now: the storage refuses this master; ask its operator"),
)


def explain(error: Exception, space: Space) -> RefusalError | None:
    """The refusal that an error of the scheduler, the store or the blobs stands for; None for a fault of ours."""
    if isinstance(error, StoreFullError):
        space.refused(error)
        return RefusalError(507, "store-full", f"cannot keep it: {NO_SPACE}")
    for kind, status, slug in _SAID_AS_IT_IS:
        if isinstance(error, kind):
            return RefusalError(status, slug, str(error))
    for kind, status, slug, sentence in _SAID_IN_OUR_WORDS:
        if isinstance(error, kind):
            log.warning("api.unable", error=str(error), status=status)
            headers = {"retry-after": str(RETRY_AFTER_S)} if status == 503 else {}
            return RefusalError(status, slug, sentence, headers=headers)
    return _with_more(error)


def _with_more(error: Exception) -> RefusalError | None:
    """Those that name fields, or a quota."""
    if isinstance(error, InvalidError):
        errors = [FieldError(field=one.field, message=one.message, allowed=list(one.allowed)) for one in error.findings]
        return RefusalError(422, "invalid", f"cannot accept the request: {error}", errors=errors)
    if isinstance(error, QuotaError):
        over = QuotaProblem(tenant=error.tenant, quota=error.over.quota, limit=error.over.limit, used=error.over.used)
        again = {} if error.retry_after_s is None else {"retry-after": str(error.retry_after_s)}
        return RefusalError(429, "quota-exceeded", str(error), headers=again, over=over)
    if isinstance(error, KeyReusedError):
        field = FieldError(field="Idempotency-Key", message="was used with another body")
        return RefusalError(422, "idempotency-key-reused", str(error), errors=[field])
    return None
