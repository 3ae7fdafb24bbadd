"""Invitations: tokens by which a machine joins the farm, once. How they are spelled, and what is kept of them."""

import re
from base64 import b64decode
from hashlib import sha256

from msgspec import Struct

from millrace.domain.keys import SUM, checksum, number_of, written

PREFIX = "mrj_"
RANDOM_BYTES = 16
PIN_BYTES = sha256().digest_size
_RANDOM = 22  # letters that hold 128 bits: 62^22 > 2^128
_PIN = 43  # letters that hold 256 bits
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----([A-Za-z0-9+/=\s]+)-----END CERTIFICATE-----")
LENGTHS = frozenset({len(PREFIX) + _RANDOM + pin + SUM for pin in (0, _PIN)})


def spell(random: bytes, pin: bytes = b"") -> str:
    """The token for 16 random bytes: `mrj_`, 22 letters, 43 of the pin where there is one, and 6 of their CRC-32.

    The pin is the SHA-256 of the authority that signs for the masters (in DER). With it, the first contact is safe before
    the machine has ever seen that authority, as `kubeadm join` has it.
    """
    if len(random) != RANDOM_BYTES or len(pin) not in (0, PIN_BYTES):
        raise ValueError(f"cannot make a token: it takes {RANDOM_BYTES} random bytes, and a pin of none or {PIN_BYTES}")
    body = written(int.from_bytes(random), _RANDOM) + (written(int.from_bytes(pin), _PIN) if pin else "")
    return PREFIX + body + checksum(body)


def pin_of(token: str) -> bytes:
    """The pin in a token; empty where it has none.

    Raises:
        ValueError: it is no token, or has a typo.
    """
    body = token[len(PREFIX) : -SUM]
    whole = len(token) in LENGTHS and token.startswith(PREFIX) and token.isascii() and checksum(body) == token[-SUM:]
    if not whole:
        raise ValueError(
            f"cannot use the join token: it has a typo; copy all of it again, from {PREFIX} to its last letter"
        )
    return number_of(body[_RANDOM:]).to_bytes(PIN_BYTES) if len(body) > _RANDOM else b""


def pin_for(authority: bytes) -> bytes:
    """The SHA-256 of the first certificate in PEM, as `openssl x509 -fingerprint -sha256` shows it.

    Raises:
        ValueError: there is none.
    """
    found = _CERTIFICATE.search(authority)
    if found is None:
        raise ValueError("it holds no certificate in PEM")
    return sha256(b64decode(found[1])).digest()


class NewInvitation(Struct, frozen=True, kw_only=True):
    """An invitation to be kept, of whose token there is a hash alone; `by` is who made it."""

    digest: bytes
    by: str
    lasts_s: float


class Enrolment(Struct, frozen=True, kw_only=True):
    """A machine that comes with a token.

    Attributes:
        token: the SHA-256 of the token.
        public: the SHA-256 of the machine's public key; who has the same one is the same machine asking again.
        fingerprint: under which it registers.
        node_id: what it is called, unless it is known under its fingerprint already.
        key_id, digest, hint: of the API key that it gets.
    """

    token: bytes
    public: bytes
    fingerprint: str
    node_id: str
    key_id: str
    digest: bytes
    hint: str
