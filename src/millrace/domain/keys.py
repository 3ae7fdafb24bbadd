"""API keys: how their secrets are spelled, and what is kept of them."""

import zlib
from datetime import datetime
from hashlib import sha256

from msgspec import Struct

from millrace.domain.roles import Role

FIRST = "api"
"""The name of the key that a master is started with; none of the store's has it."""
PREFIX = "mr_"
RANDOM_BYTES = 32
_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_RANDOM = 43  # letters that hold 256 bits: 62^43 > 2^256
SUM = 6  # letters that hold a CRC-32: 62^6 > 2^32
LENGTH = len(PREFIX) + _RANDOM + SUM


def spell(random: bytes) -> str:
    """The secret for 32 random bytes: `mr_`, 43 letters and digits, and 6 of their CRC-32.

    So it is one word to a double click and to a shell, scanners for leaked secrets find it without asking anybody, and a
    typo is told from a stranger (the form of GitHub's tokens,
    https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/).
    """
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"cannot make a key: it takes {RANDOM_BYTES} random bytes, not {len(random)}")
    body = written(int.from_bytes(random), _RANDOM)
    return PREFIX + body + checksum(body)


def is_whole(secret: str | bytes) -> bool:
    """Whether the checksum fits: no letter is missing or another one. It says nothing of whether the key is known."""
    secret = secret.decode("latin-1") if isinstance(secret, bytes) else secret
    body = secret[len(PREFIX) : -SUM]
    return len(secret) == LENGTH and secret.startswith(PREFIX) and secret.isascii() and checksum(body) == secret[-SUM:]


def digest(secret: str | bytes) -> bytes:
    """What is kept of a secret.

    One SHA-256 and no salt: a slow hash (RFC 9106) protects what people can remember and programs can guess. These are
    256 random bits, which nobody guesses however fast the hash is, and no two are the same; and the hash is made anew for
    every request.
    """
    return sha256(secret if isinstance(secret, bytes) else secret.encode(errors="replace")).digest()


def hint(secret: str) -> str:
    """The beginning of a secret, by which people know it again: 4 of its 43 letters."""
    return secret[: len(PREFIX) + 4]


def checksum(body: str) -> str:
    """The letters that tell a typo: of a CRC-32."""
    return written(zlib.crc32(body.encode()), SUM)


def written(number: int, letters: int) -> str:
    """A number with 62 digits: 0 to 9, A to Z, a to z."""
    found = []
    for _ in range(letters):
        number, digit = divmod(number, len(_LETTERS))
        found.append(_LETTERS[digit])
    return "".join(reversed(found))


def number_of(text: str) -> int:
    """The reverse of :func:`written`.

    Raises:
        ValueError: it holds something else.
    """
    number = 0
    for letter in text:
        number = number * len(_LETTERS) + _LETTERS.index(letter)
    return number


class Machine(Struct, frozen=True):
    """The node that a key is bound to: its id, and the fingerprint under which it registers."""

    node: str
    fingerprint: str


class NewKey(Struct, frozen=True, kw_only=True):
    """A key to be kept. `tenant` is empty where it is good for all; `lasts_s` None: without an end."""

    id: str
    name: str
    role: Role
    tenant: str
    digest: bytes
    hint: str
    lasts_s: float | None


class ApiKey(Struct, frozen=True, kw_only=True):
    """A key without its secret. `used_at` is exact to about a minute; `old_until`: how long the secret before this is good."""

    id: str
    name: str
    role: Role
    tenant: str
    hint: str
    created_at: datetime
    expires_at: datetime | None
    used_at: datetime | None
    revoked_at: datetime | None
    old_until: datetime | None
    machine: Machine | None = None  # None: whoever shows it may be any node
