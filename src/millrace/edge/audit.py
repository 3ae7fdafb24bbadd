"""Who changed what: one entry for each request that changes something, or that was turned away."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import lru_cache
from http import HTTPStatus

from msgspec import Struct, to_builtins

from millrace.edge.route import Access
from millrace.telemetry.redact import Redactor

_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
_CHANGES_NOTHING = frozenset({Access.READ, Access.INSPECT, Access.FETCH})
STRANGERS_A_MINUTE = 60
"""How many refusals of strangers get an entry; further ones are only counted, in the next that gets one."""


class AuditEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One entry. Holds no secret: no header, no query, and of a body what has no name or shape of a secret.

    `caller` is the name of a key, `uid:N` or a certificate's subject, and empty for a stranger; `client` is where it came
    from. `before` and `after` are what the route says that it changes; `detail` why it was refused. `key` is the id of a key
    that is kept in a store, `tenant` the only one that it sees; `left_out` counts entries of strangers before this one.
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
    key: str = ""
    tenant: str = ""
    left_out: int = 0


class Audit:
    """Makes entries and hands them to whoever keeps them."""

    def __init__(
        self, keep: Callable[[AuditEntry, bool], Awaitable[None] | None], *, now: Callable[[], datetime]
    ) -> None:
        """`keep` must not raise; it hears whether the entry is one of very many, and what it gives is waited for before the
        request is answered.
        """
        self._keep = keep
        self._now = now
        self._redactor = Redactor()
        self._caller = lru_cache(maxsize=256)(self._redactor.text)  # few ask, again and again
        self._minute = -1
        self._strangers = 0  # that came in this minute
        self._left_out = 0

    def wants(self, method: str, access: Access | None, status: int, *, noted: bool = False) -> bool:
        """Whether a request gets an entry; `access` is None where there is no such route, `noted` is the route's.

        Who asks too often gets none, or a flood would wash the others away. What workers do about their tasks stands in the
        transitions of the jobs.
        """
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return False
        if status == HTTPStatus.UNAUTHORIZED or (access is Access.OPEN and status >= HTTPStatus.BAD_REQUEST):
            return self._has_room()  # a stranger's
        if status == HTTPStatus.FORBIDDEN:
            return True
        return noted or (method not in _SAFE_METHODS and access is not Access.WORK and access not in _CHANGES_NOTHING)

    def _has_room(self) -> bool:
        minute = int(self._now().timestamp()) // 60
        if minute != self._minute:
            self._minute, self._strangers = minute, 0
        self._strangers += 1
        if self._strangers > STRANGERS_A_MINUTE:
            self._left_out += 1
            return False
        return True

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
        key: str,
        tenant: str,
        made: object,
        frequent: bool,
    ) -> Awaitable[None] | None:
        """Make an entry. `before` and `after` are JSON values, or shapes of the wire; `made` holds no secret."""
        clean = self._redactor
        left_out, self._left_out = self._left_out, 0
        return self._keep(
            AuditEntry(
                at=self._now(),
                request_id=request_id,
                caller=self._caller(caller),
                role=role,
                client=client,
                method=method[:16],
                route=route,
                path=path if path == route else clean.text(path[:500]),
                status=status,
                request=None if request is None else clean.value(to_builtins(request)),
                before=None if before is None else clean.value(to_builtins(before)),
                after=made if made is not None else None if after is None else clean.value(to_builtins(after)),
                detail=clean.text(detail) if detail else "",
                key=key,
                tenant=tenant,
                left_out=left_out,
            ),
            frequent,
        )
