"""Open the socket that a server listens on, or say in one sentence why that cannot be."""

import errno
import ipaddress
import socket
import ssl
from collections.abc import Collection
from pathlib import Path

from millrace.config.errors import SettingError
from millrace.programs.http.tls import Tls, reason

BACKLOG = 2048


class ListenError(SettingError):
    """The address that the settings name cannot be listened on."""


def listen(host: str, port: int) -> socket.socket:
    """A bound, listening TCP socket; port 0 takes any free one.

    Raises:
        ListenError: the port is taken, the address is not this machine's, or a privilege is missing.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        opened = socket.socket(family, kind, protocol)
    except OSError as error:
        raise ListenError(f"cannot listen on {host}: {error.strerror}; name an address of this machine") from error
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind(address)
        opened.listen(BACKLOG)
        opened.setblocking(False)
    except OSError as error:
        opened.close()
        if error.errno == errno.EADDRINUSE:
            sentence = "another program listens there; choose another port with --port, or 0 for any free one"
        else:
            sentence = f"{error.strerror}"
        raise ListenError(f"cannot listen on {host}:{port}: {sentence}") from error
    return opened


def adopt(number: int) -> socket.socket:
    """The listening socket that whoever started us has opened, by its descriptor.

    Raises:
        ListenError: the descriptor is no listening TCP socket.
    """
    try:
        opened = socket.socket(fileno=number)
    except OSError as error:
        raise ListenError(
            f"cannot listen on descriptor {number}: {error.strerror}; it must be an open socket"
        ) from error
    is_tcp = opened.family in (socket.AF_INET, socket.AF_INET6) and opened.type == socket.SOCK_STREAM
    if not is_tcp or not opened.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
        opened.detach()
        raise ListenError(f"cannot listen on descriptor {number}: it is no listening TCP socket")
    opened.setblocking(False)
    return opened


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach the address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def hosts_of(host: str, names: Collection[str]) -> frozenset[str] | None:
    """The names by which a server on `host` may be asked, where these are given: without any, none on a loopback address, and
    any (None) elsewhere, as `*` says too.
    """
    if "*" in names or not (names or is_loopback(host)):
        return None
    return frozenset(name.lower() for name in names)


def host_of(opened: socket.socket) -> str:
    """The address that a listening socket is bound to."""
    return str(opened.getsockname()[0])


def url_of(opened: socket.socket, *, tls: bool) -> str:
    """The URL by which this machine reaches a listening socket."""
    host, port = opened.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        host = "127.0.0.1" if address.version == 4 else "::1"
    shown = f"[{host}]" if ":" in host else host
    return f"{'https' if tls else 'http'}://{shown}:{port}"


def check_certificate(certificate: Path, key: Path) -> None:
    """Pass, or say why a certificate and its key cannot be used.

    Raises:
        SettingError: they cannot be read, or are no pair.
    """
    try:
        Tls(certificate=certificate, key=key).context()
    except OSError as error:  # an ssl.SSLError too
        raise SettingError(
            f"cannot serve TLS with {certificate} and {key}: {reason(error)}; "
            "name a certificate in PEM and its key, which must have no password"
        ) from error


def check_authority(authority: Path) -> None:
    """Pass, or say why clients cannot be verified with a certificate authority.

    Raises:
        SettingError: the file cannot be read, or holds no certificate.
    """
    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(authority))
    except OSError as error:  # an ssl.SSLError too
        reason = "it holds no certificate" if isinstance(error, ssl.SSLError) else error.strerror
        raise SettingError(
            f"cannot verify clients with {authority}: {reason}; name the certificate of an authority in PEM"
        ) from error
