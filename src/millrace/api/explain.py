"""Why a verb refused, as HTTP says it: one place for the whole API."""

from millrace.blobs.blobs import BlobsFullError, BlobsUnavailableError
from millrace.domain.states import IllegalTransitionError
from millrace.edge.refusal import RefusalError, not_found
from millrace.scheduler.errors import (
    ConflictError,
    InvalidError,
    KeyReusedError,
    NotFoundError,
    StaleAttemptError,
    StaleEpochError,
)
from millrace.store.store import StoreFullError, StoreUnavailableError
from millrace.wire.v1.problems import FieldError

RETRY_AFTER_S = 2


def explain(error: Exception) -> RefusalError | None:
    """The refusal that an error of the scheduler, the store or the blobs stands for; None for a fault of ours."""
    text = str(error)
    match error:
        case InvalidError():
            errors = [FieldError(field=one.field, message=one.message, allowed=list(one.allowed)) for one in error.findings]
            return RefusalError(422, "invalid", f"cannot accept the request: {text}", errors=errors)
        case KeyReusedError():
            field = FieldError(field="Idempotency-Key", message="was used with another body")
            return RefusalError(422, "idempotency-key-reused", text, errors=[field])
        case NotFoundError():
            return not_found(text)
        case ConflictError() | IllegalTransitionError():
            return RefusalError(409, "conflict", text)
        case StaleAttemptError():
            return RefusalError(409, "stale-attempt", text)
        case StaleEpochError():
            return RefusalError(409, "stale-epoch", text)
        case StoreFullError():
            return RefusalError(507, "store-full", "cannot keep it: there is no space left for the database; free some")
        case BlobsFullError():
            return RefusalError(507, "storage-full", "cannot keep it: there is no space left for files; free some")
        case StoreUnavailableError() | BlobsUnavailableError():
            # The error's own words may hold addresses and paths of this installation; they go to the log, not out.
            part = "database" if isinstance(error, StoreUnavailableError) else "storage"
            return RefusalError(
                503,
                "unavailable",
                f"cannot answer now: the {part} does not answer; try again in a moment",
                headers={"retry-after": str(RETRY_AFTER_S)},
            )
        case _:
            return None
