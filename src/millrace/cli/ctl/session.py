"""A client for the supervisor that a command was pointed at, and its errors as sentences."""

import functools
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from msgspec import Struct

from millrace.cli.failure import CommandError
from millrace.cli.options import LOCAL_FILE, PATH
from millrace.client.client import Client
from millrace.client.errors import RefusedError, UnreachableError
from millrace.client.http import Terms, trust
from millrace.client.supervise import health, processes
from millrace.supervisor.control.place import places

if TYPE_CHECKING:
    from millrace.client.async_client import AsyncClient

T = TypeVar("T")
_START = "Start one with `millrace supervise -c PLAN`, or name its socket with --socket"
_LOCAL = "http://supervisor"
_PATIENCE_S = 5.0


class Control(Struct, frozen=True):
    """Which supervisor a command speaks to."""

    socket: Path | None
    url: str | None
    ca: Path | None
    certificate: Path | None = None
    key: Path | None = None


def wait_option(default: int, text: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
    """How many seconds a command waits for what it began."""
    return click.option(
        "--wait", type=click.IntRange(0, 3600), default=default, show_default=True, metavar="SECONDS", help=text
    )


def control_options(command: Callable[..., T]) -> Callable[..., T]:
    """The options of every command that asks a supervisor; it gets them as `control`."""

    @click.option(
        "--socket",
        "place",
        type=PATH,
        envvar="MILLRACE_SUPERVISE_SOCKET",
        help="Unix socket of the supervisor.  [default: where `supervise` puts it]",
    )
    @click.option("--url", help="Address of a supervisor on TCP instead; its key is taken from MILLRACE_SUPERVISE_KEY.")
    @click.option("--ca", type=LOCAL_FILE, help="Certificate authority of that supervisor in PEM.")
    @click.option("--cert", type=LOCAL_FILE, help="Certificate in PEM to show it.")
    @click.option("--cert-key", type=LOCAL_FILE, help="Private key of that certificate, where it is in another file.")
    @functools.wraps(command)
    def with_control(
        *,
        place: Path | None,
        url: str | None,
        ca: Path | None,
        cert: Path | None,
        cert_key: Path | None,
        **others: Any,
    ) -> T:
        return command(control=Control(place, url, ca, cert, cert_key), **others)

    return with_control


@contextmanager
def supervisor(control: Control) -> Iterator[Client]:
    """A client. What goes wrong while it is used ends the command with a sentence.

    Raises:
        CommandError: nobody is there, or it refuses.
    """
    where = control.url or str(_socket(control))
    with _client(control, where) as client:
        try:
            yield client
        except UnreachableError as error:
            reason = str(error).removeprefix(f"cannot reach the master at {client.address}: ")
            raise _unreachable(where, reason) from error
        except RefusedError as error:
            raise CommandError(str(error)) from error


def address(control: Control) -> str:
    """What the supervisor is called on a screen. Raises as :func:`supervisor`."""
    return control.url or str(_socket(control))


def async_client(control: Control) -> "AsyncClient":
    """The same supervisor for a program that goes on while nobody answers; each call is tried once."""
    import httpx2  # noqa: PLC0415  the first use of the network, see the room `client`

    from millrace.client.async_client import AsyncClient  # noqa: PLC0415

    if control.url:
        return AsyncClient([control.url], replace(_terms(control), patience_s=0.0))
    return AsyncClient([_LOCAL], Terms(patience_s=0.0), transport=httpx2.AsyncHTTPTransport(uds=str(_socket(control))))


def known_names(context: click.Context, _: click.Parameter, incomplete: str) -> list[str]:
    """The names of processes, for a shell that completes one; none where no supervisor answers at once."""
    named = context.params.get("place")
    try:
        with supervisor(Control(named if isinstance(named, Path) else None, None, None)) as client:
            found = client.do(processes()).processes
    except CommandError:
        return []
    return [one.name for one in found if one.name.startswith(incomplete)]


def is_there(control: Control, client: Client) -> bool:
    """Whether the supervisor still answers."""
    if control.url is None:
        try:
            _knock(_socket(control))
        except CommandError:
            return False
        return True
    try:
        client.do(health(), patience_s=0.0)
    except UnreachableError:
        return False
    return True


def _unreachable(where: str, reason: str) -> CommandError:
    return CommandError(f"cannot reach the supervisor at {where}: {reason.removesuffix('; is it running?')}. {_START}")


def _client(control: Control, where: str) -> Client:
    if control.url:
        try:
            return Client([where], _terms(control))
        except ValueError as error:
            raise CommandError(str(error).replace("a master", "a supervisor"), code=2) from error
    import httpx2  # noqa: PLC0415  the first use of the network, see the room `client`

    # httpx2 does not close a unix socket that it could not connect, so that is found out before.
    _knock(Path(where))
    # It answers at once or is not there: nothing is gained by trying again.
    return Client([_LOCAL], Terms(patience_s=0.0), transport=httpx2.HTTPTransport(uds=where))


def _terms(control: Control) -> Terms:
    key = os.environ.get("MILLRACE_SUPERVISE_KEY")
    return Terms(key=key, tls=_trusted(control), eager=True, patience_s=_PATIENCE_S)


def _knock(path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as knocking:
        try:
            knocking.connect(str(path))
        except OSError as error:
            raise _unreachable(str(path), (error.strerror or str(error)).lower()) from error


def _trusted(control: Control) -> Any:
    try:
        return trust(control.ca, control.certificate, control.key)
    except ValueError as error:
        raise CommandError(str(error), code=2) from error


def _socket(control: Control) -> Path:
    """The named socket, or the first of the usual places where one is."""
    if control.socket is not None:
        found, tried = control.socket, [control.socket]
    else:
        tried = list(places(os.environ, uid=os.geteuid()))
        found = next((place for place in tried if place.exists()), Path())
        if not tried:
            raise CommandError("cannot tell where the supervisor is: name its socket with --socket", code=2)
    if not found.is_socket():
        shown = " or ".join(map(str, tried))
        raise CommandError(f"cannot reach a supervisor: there is no socket at {shown}. {_START}")
    return found
