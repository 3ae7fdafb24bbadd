"""The farm's own certificates (X.509, RFC 5280): an authority, what masters show, what workers show. Pure: bytes in, bytes out.

All keys are ECDSA on P-256. Import this late: cryptography takes 50 ms, and most starts make and read no certificate.
"""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from msgspec import Struct

from millrace.edge.access import WORKER

AUTHORITY_LASTS = timedelta(days=3650)
LASTS = timedelta(days=90)
"""Of what masters and workers show."""
_SLACK = timedelta(hours=1)
"""Clocks differ, so a certificate is good from a little before it was made."""


class Pair(Struct, frozen=True):
    """A certificate, with those that vouch for it behind it, and its private key; both in PEM."""

    certificate: bytes
    key: bytes


class Signed(Struct, frozen=True):
    """A certificate in PEM, and when it ends."""

    certificate: bytes
    ends: datetime


class Facts(Struct, frozen=True):
    """What a certificate says: until when, and for which names and addresses."""

    ends: datetime
    names: frozenset[str]


def due(now: datetime, ends: datetime) -> bool:
    """Whether it is time for another certificate: less than a third of its life is left."""
    return ends - now < LASTS / 3


def new_authority(now: datetime) -> Pair:
    """An authority that may sign for masters and workers, and for no other authority."""
    key = _new_key()
    name = _name("Millrace farm", f"Millrace farm {now:%Y-%m-%d}")
    built = _begun(name, name, key.public_key(), now, now + AUTHORITY_LASTS)
    built = built.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    built = built.add_extension(_usage(signs=True), critical=True)
    return Pair(_pem(_signed(built, key)), _key_pem(key))


def server_pair(authority: Pair, names: Collection[str], now: datetime) -> Pair:
    """What a master shows: good for these host names and addresses, with the authority behind it."""
    key = _new_key()
    subject = _name("Millrace master", next(iter(names))[:64])
    alternative = x509.SubjectAlternativeName([_alternative(name) for name in names])
    purpose = ExtendedKeyUsageOID.SERVER_AUTH
    leaf = _leaf(authority, subject, key.public_key(), now, purpose=purpose, alternative=alternative)
    return Pair(leaf.certificate + authority.certificate, _key_pem(key))


def new_request() -> Pair:
    """A new private key of a worker, and the request to sign for it (PKCS #10)."""
    key = _new_key()
    return Pair(request_for(_key_pem(key)), _key_pem(key))


def request_for(key: bytes) -> bytes:
    """The request to sign for a private key in PEM.

    Raises:
        ValueError: it is no key.
    """
    built = x509.CertificateSigningRequestBuilder().subject_name(_name(WORKER, "worker"))
    loaded = serialization.load_pem_private_key(key, password=None)
    return built.sign(loaded, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]  # it is ours


def public_of(request: bytes) -> bytes:
    """The SHA-256 of the public key in a request to sign, which its sender has the private key of.

    Raises:
        ValueError: it is no request, its key is no P-256, or its signature is wrong.
    """
    found = _request(request).public_key()
    return sha256(
        found.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    ).digest()


def worker_certificate(authority: Pair, request: bytes, key_id: str, now: datetime) -> Signed:
    """What a worker shows: it stands for the API key of this id. Of the request nothing counts but its public key.

    Raises:
        ValueError: as :func:`public_of`.
    """
    public = _request(request).public_key()
    purpose = ExtendedKeyUsageOID.CLIENT_AUTH
    return _leaf(authority, _name(WORKER, key_id), public, now, purpose=purpose)  # type: ignore[arg-type]  # checked


def facts_of(certificate: bytes) -> Facts:
    """What the first certificate in PEM says.

    Raises:
        ValueError: there is none.
    """
    found = x509.load_pem_x509_certificate(certificate)
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Facts(found.not_valid_after_utc, frozenset())
    return Facts(found.not_valid_after_utc, frozenset(str(one.value) for one in names))


def is_pair(pair: Pair) -> bool:
    """Whether the key is that of the certificate, which is one of an authority."""
    try:
        found = x509.load_pem_x509_certificate(pair.certificate)
        key = serialization.load_pem_private_key(pair.key, password=None)
        constraints = found.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, TypeError, x509.ExtensionNotFound):
        return False
    return constraints.ca and key.public_key() == found.public_key()


# How they are built -----------------------------------------------------------------------------------------------------


def _request(pem: bytes) -> x509.CertificateSigningRequest:
    found = x509.load_pem_x509_csr(pem)
    key = found.public_key()
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ValueError("its key is none of ECDSA on P-256")  # noqa: TRY004  what was sent is wrong, not our types
    if not found.is_signature_valid:
        raise ValueError("its signature is wrong")
    return found


def _leaf(
    authority: Pair,
    subject: x509.Name,
    public: ec.EllipticCurvePublicKey,
    now: datetime,
    *,
    purpose: x509.ObjectIdentifier,
    alternative: x509.SubjectAlternativeName | None = None,
) -> Signed:
    above = x509.load_pem_x509_certificate(authority.certificate)
    key = serialization.load_pem_private_key(authority.key, password=None)
    ends = min(now + LASTS, above.not_valid_after_utc)
    built = _begun(subject, above.subject, public, now, ends)
    built = built.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    built = built.add_extension(_usage(signs=False), critical=True)
    built = built.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
    of_above = x509.AuthorityKeyIdentifier.from_issuer_public_key(above.public_key())  # type: ignore[arg-type]  # a CA's
    built = built.add_extension(of_above, critical=False)
    if alternative is not None:
        built = built.add_extension(alternative, critical=False)
    return Signed(_pem(_signed(built, key)), ends.replace(microsecond=0))  # type: ignore[arg-type]  # is_pair has looked


def _begun(
    subject: x509.Name, issuer: x509.Name, public: ec.EllipticCurvePublicKey, now: datetime, ends: datetime
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now.astimezone(UTC) - _SLACK)
        .not_valid_after(ends.astimezone(UTC))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
    )


def _signed(built: x509.CertificateBuilder, key: ec.EllipticCurvePrivateKey) -> x509.Certificate:
    return built.sign(key, hashes.SHA256())


def _new_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def _name(organisation: str, common: str) -> x509.Name:
    parts = ((NameOID.ORGANIZATION_NAME, organisation), (NameOID.COMMON_NAME, common))
    return x509.Name([x509.NameAttribute(kind, text) for kind, text in parts])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _usage(*, signs: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs, key_cert_sign=signs, crl_sign=signs, content_commitment=False, key_encipherment=False,
        data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
    )  # fmt: skip


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
