"""Who calls: API keys, compared in constant time or by their hash, and the browser's session that stands for one."""

import hmac
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256

from msgspec import Struct

from millrace.domain.keys import LENGTH, PREFIX, Machine, digest, is_whole
from millrace.edge.known_keys import KnownKeys, Mark, UnfamiliarError
from millrace.edge.refusal import RefusalError
from millrace.edge.route import Access

SESSION_COOKIE = "millrace_session"
SESSION_S = 30 * 86_400
ALL = frozenset(Access)
_TYPO = 3
"""Letters that somebody leaves out or types twice."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A secret, who it stands for in the records, and what it opens.

    Of a secret that is not known `digest` is its SHA-256, which random ones of 128 bits and more need no more than. `ends_s`
    is when it ends, in seconds since 1970. Of a key of the store, `id` is its name for good, and `mark` what it was found by.
    `tenant` is the only one whose jobs it sees, empty where it sees all; `machine` the only node that it may act as, None where
    it may act as any.
    """

    secret: str = field(default="", repr=False)
    digest: bytes = field(default=b"", repr=False)
    name: str = "api"
    role: str = "admin"
    grants: frozenset[Access] = ALL
    ends_s: float | None = None
    id: str = ""
    mark: Mark = ""
    tenant: str = ""
    machine: Machine | None = None


class Caller(Struct, frozen=True):
    """Who asks. `by_cookie`: a browser asks, and might do so on behalf of another site."""

    key: Key
    by_cookie: bool = False


class Keys:
    """The keys that open this server: those that it was started with, and those that are kept elsewhere."""

    def __init__(
        self, keys: Sequence[Key], *, now_s: Callable[[], float], stored: KnownKeys[Key] | None = None
    ) -> None:
        """`now_s` is the wall clock in seconds, for the end of sessions. `stored` knows further keys.

        Raises:
            ValueError: there is no key, or one is shorter than 8 characters: an empty one would open everything.
        """
        if not keys or any(len(key.secret) < 8 and len(key.digest) != sha256().digest_size for key in keys):
            raise ValueError("cannot serve: an API key of at least 8 characters is needed")
        if stored is not None and not keys[0].secret:
            raise ValueError("cannot serve: the first key vouches for the sessions of others, so its secret is needed")
        self._keys = tuple((key, key.digest or digest(key.secret)) for key in keys)
        self._now_s = now_s
        self._stored = stored

    @property
    def all(self) -> tuple[Key, ...]:
        """Every one that it was started with."""
        return tuple(key for key, _ in self._keys)

    def named(self, secret: str | bytes) -> Key | None:
        """The key with this secret. Every key that the server was started with is compared, each in constant time.

        Raises:
            UnfamiliarError: it may be one that is kept elsewhere, and has not been looked up lately; see `learn`.
        """
        given = digest(secret)
        found = None
        for key, known in self._keys:
            if hmac.compare_digest(given, known):
                found = key
        if found is not None:
            return found if found.ends_s is None or self._now_s() < found.ends_s else None
        if self._stored is None:
            return None
        try:
            # By its hash: how far a guess at a hash was right says nothing about the secret behind it.
            return self._stored.get(given)
        except UnfamiliarError:
            if is_whole(secret):
                raise
            return None  # a typo need not be looked up

    def of_machine(self, key_id: str) -> Key | None:
        """The key of this id, where it is bound to a node. Whoever asks has seen a certificate for it.

        Raises:
            UnfamiliarError: as :meth:`named`.
        """
        found = self._stored.get(key_id) if self._stored is not None else None
        # No certificate opens what the key of a person does.
        return found if found is not None and found.machine is not None else None

    async def find(self, secret: str) -> Key | None:
        """The key with this secret, looked up where need be."""
        while True:
            try:
                return self.named(secret)
            except UnfamiliarError as error:
                await self.learn(error)

    async def learn(self, error: UnfamiliarError) -> None:
        """Look up the key that was asked for in vain; then ask again. Raises what the store of keys raises."""
        if self._stored is not None:
            await self._stored.learn(error.mark)

    async def ended(self, marks: Iterable[Mark]) -> frozenset[Mark]:
        """Those of the marks of stored keys that open nothing any more."""
        found = set()
        for mark in marks:
            while True:
                try:
                    if self._stored is None or self._stored.get(mark) is None:
                        found.add(mark)
                    break
                except UnfamiliarError as error:
                    await self.learn(error)
        return frozenset(found)

    def forget(self) -> None:
        """Look every stored key up anew: one of them was changed."""
        if self._stored is not None:
            self._stored.forget()

    def identify(self, headers: Mapping[bytes, bytes]) -> Caller | None:
        """Who sent these headers: `Authorization: Bearer`, `X-API-Key`, or a session's cookie; None for a stranger.

        Raises:
            UnfamiliarError: as :meth:`named`.
        """
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
        """A token that stands for the key until it ends; any server with the same first key accepts it."""
        until = str(int(self._now_s()) + SESSION_S)
        if key.id:
            # Of a stored key there is a hash alone, which must not be enough to make a session. So the first key vouches.
            return f"{until}.{key.id}.{_seal(self._keys[0][0].secret, f'{key.id} until {until}')}"
        return f"{until}.{_seal(key.secret, f'until {until}')}"

    def _of_session(self, token: str) -> Key | None:
        until, _, rest = token.partition(".")
        if not (until.isascii() and until.isdigit() and len(until) <= 12) or int(until) < self._now_s():
            return None
        key_id, _, seal = rest.rpartition(".")
        if key_id:
            first = self._keys[0][0].secret
            if self._stored is None or not first or not _same(_seal(first, f"{key_id} until {until}"), seal):
                return None
            return self._stored.get(key_id)
        found = None
        for key, _ in self._keys:
            # Of a key that is known by its digest alone there are no sessions: who reads the file could make them.
            if key.secret and _same(_seal(key.secret, f"until {until}"), seal):
                found = key
        return found


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode(errors="replace"))


def _seal(secret: str, what: str) -> str:
    return hmac.new(secret.encode(), b"millrace session " + what.encode(), sha256).hexdigest()


def _cookie(header: bytes, name: str) -> str:
    for pair in header.decode("latin-1").split(";"):
        key, _, value = pair.strip().partition("=")
        if key == name:
            return value
    return ""


def stranger(headers: Mapping[bytes, bytes]) -> RefusalError:
    """The refusal for whoever shows no key, or a wrong one; a key with a typo is told so, which its checksum shows."""
    authorization = headers.get(b"authorization", b"").partition(b" ")[2].strip()
    shown = authorization or headers.get(b"x-api-key", b"")
    # The keys of earlier first starts have no checksum, and are shorter by it.
    if shown.startswith(PREFIX.encode()) and abs(len(shown) - LENGTH) <= _TYPO and not is_whole(shown):
        why = "cannot answer: this API key has a typo, for its checksum does not fit; copy it again, all {} characters of it"
        detail = why.format(LENGTH)
    else:
        detail = "cannot answer without a valid API key; send it as `Authorization: Bearer KEY` or `X-API-Key: KEY`"
    return RefusalError(401, "unauthorized", detail, headers={"www-authenticate": 'Bearer realm="millrace"'})


def forbidden(access: Access, key: Key) -> RefusalError:
    """The refusal for somebody known who may not do this."""
    whose = f"role {key.role}" + (f" for tenant {key.tenant}" if key.tenant else "")
    return RefusalError(403, "forbidden", f"cannot answer: you may not `{access}` here with {whose}")


def is_foreign(headers: Mapping[bytes, bytes]) -> bool:
    """Whether a browser says that another site made it send this request."""
    # Browsers name the relation themselves where the connection is trustworthy; a proxy that changes Host spoils the other.
    site = headers.get(b"sec-fetch-site")
    if site is not None:
        return site not in (b"same-origin", b"none")
    origin = headers.get(b"origin")
    return origin is not None and origin.partition(b"://")[2] != headers.get(b"host")
