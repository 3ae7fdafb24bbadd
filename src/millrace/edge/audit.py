"""Who changed what: one entry for each request that changes something, or that was turned away."""

from collections.abc import Callable
from datetime import datetime
from http import HTTPStatus

from msgspec import Struct, to_builtins

from millrace.telemetry.redact import Redactor

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class AuditEntry(Struct, frozen=True, kw_only=True):
    """One entry. Holds no secret: no header, no query, and of a body what has no name or shape of a secret.

    `caller` is the name of a key, `uid:N` or a certificate's subject, and empty for a stranger; `client` is where it came
    from. `before` and `after` are what the route says that it changes; `detail` why it was refused.
    """

    at: datetime
    request_id: str
    caller: str
    role: str
    client: str
    method: str
    route: str
    path: str
    status: int
    request: object = None
    before: object = None
    after: object = None
    detail: str = ""


class Audit:
    """Makes entries and hands them to whoever keeps them."""

    def __init__(self, keep: Callable[[AuditEntry], None], *, now: Callable[[], datetime]) -> None:
        """`keep` must not raise."""
        self._keep = keep
        self._now = now
        self._redactor = Redactor()

    @staticmethod
    def wants(method: str, status: int) -> bool:
        """Whether a request gets an entry. Who asks too often gets none, or a flood would wash the others away."""
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return False
        return method not in _SAFE_METHODS or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)

    def add(
        self,
        *,
        request_id: str,
        caller: str,
        role: str,
        client: str,
        method: str,
        route: str,
        path: str,
        status: int,
        request: object,
        before: object,
        after: object,
        detail: str,
    ) -> None:
        """Make an entry. `before` and `after` are JSON values, or shapes of the wire."""
        clean = self._redactor
        self._keep(
            AuditEntry(
                at=self._now(),
                request_id=request_id,
                caller=clean.text(caller),
                role=role,
                client=client,
                method=method[:16],
                route=route,
                path=clean.text(path[:500]),
                status=status,
                request=clean.value(to_builtins(request)),
                before=clean.value(to_builtins(before)),
                after=clean.value(to_builtins(after)),
                detail=clean.text(detail),
            )
        )
