"""Who calls: API keys, compared in constant time, and the browser's session that stands for one."""

import hmac
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from msgspec import Struct

from millrace.edge.refusal import RefusalError
from millrace.edge.route import Access

SESSION_COOKIE = "millrace_session"
SESSION_S = 30 * 86_400
ALL = frozenset(Access)


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A secret, who it stands for in the records, and what it opens.

    Of a secret that is not known `digest` is its SHA-256, which random ones of 128 bits and more need no more than. `ends_s`
    is when it ends, in seconds since 1970.
    """

    secret: str = field(default="", repr=False)
    digest: bytes = field(default=b"", repr=False)
    name: str = "api"
    role: str = "admin"
    grants: frozenset[Access] = ALL
    ends_s: float | None = None


class Caller(Struct, frozen=True):
    """Who asks. `by_cookie`: a browser asks, and might do so on behalf of another site."""

    key: Key
    by_cookie: bool = False


class Keys:
    """The keys that open this server."""

    def __init__(self, keys: Sequence[Key], *, now_s: Callable[[], float]) -> None:
        """`now_s` is the wall clock in seconds, for the end of sessions.

        Raises:
            ValueError: there is no key, or one is shorter than 8 characters: an empty one would open everything.
        """
        if not keys or any(len(key.secret) < 8 and len(key.digest) != sha256().digest_size for key in keys):
            raise ValueError("cannot serve: an API key of at least 8 characters is needed")
        self._keys = tuple((key, key.digest or sha256(key.secret.encode()).digest()) for key in keys)
        self._now_s = now_s

    @property
    def all(self) -> tuple[Key, ...]:
        """Every one of them."""
        return tuple(key for key, _ in self._keys)

    def named(self, secret: str | bytes) -> Key | None:
        """The key with this secret. Every key is compared, each in constant time."""
        given = sha256(secret.encode(errors="replace") if isinstance(secret, str) else secret).digest()
        found = None
        for key, known in self._keys:
            if hmac.compare_digest(given, known):
                found = key
        return found if found is not None and (found.ends_s is None or self._now_s() < found.ends_s) else None

    def identify(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        """Who sent these headers: `Authorization: Bearer`, `X-API-Key`, or a session's cookie; None for a stranger."""
        authorization = headers.get(b"authorization")
        if authorization is not None:
            scheme, _, secret = authorization.partition(b" ")
            key = self.named(secret.strip()) if scheme.lower() == b"bearer" else None
            return Caller(key) if key else None
        if (secret := headers.get(b"x-api-key", b"")) != b"":
            key = self.named(secret)
            return Caller(key) if key else None
        cookie = headers.get(b"cookie")
        key = self._of_session(_cookie(cookie, SESSION_COOKIE)) if cookie is not None else None
        return Caller(key, by_cookie=True) if key else None

    def session(self, key: Key) -> str:
        """A token that stands for the key until it ends; any server with the same key accepts it."""
        until = str(int(self._now_s()) + SESSION_S)
        return f"{until}.{_seal(key.secret.encode(), until)}"

    def _of_session(self, token: str) -> Key | None:
        until, _, seal = token.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) <= 12) or int(until) < self._now_s():
            return None
        found = None
        for key, _ in self._keys:
            # Of a key that is known by its digest alone there are no sessions: who reads the file could make them.
            if key.secret and hmac.compare_digest(
                _seal(key.secret.encode(), until).encode(), seal.encode(errors="replace")
            ):
                found = key
        return found


def _seal(secret: bytes, until: str) -> str:
    return hmac.new(secret, b"millrace session until " + until.encode(), sha256).hexdigest()


def _cookie(header: bytes, name: str) -> str:
    for pair in header.decode("latin-1").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


def stranger() -> RefusalError:
    """The refusal for whoever shows no key, or a wrong one."""
    return RefusalError(
        401,
        "unauthorized",
        "cannot answer without a valid API key; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`",
        headers={"www-authenticate": 'Bearer realm="millrace"'},
    )


def forbidden(access: Access) -> RefusalError:
    """The refusal for somebody known who may not do this."""
    return RefusalError(403, "forbidden", f"cannot answer: you may not `{access}` here")


def is_foreign(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that another site made it send this request."""
    # Browsers name the relation themselves where the connection is trustworthy; a proxy that changes Host spoils the other.
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")
