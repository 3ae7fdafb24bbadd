"""Read from a URL of a stranger: each redirect is judged as the URL itself was."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from urllib.parse import quote, urljoin, urlsplit

from millrace.outbound.connect import Connector
from millrace.outbound.guard import ForbiddenTargetError
from millrace.runtime.clock import Clock

if TYPE_CHECKING:
    import httpx2

MOST_REDIRECTS = 5
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEPT = "!#$%&'()*+,/:;=?@[]~\\"
"""What RFC 3986 allows in a URL, and the backslash: browsers take it for a slash, so the guard is to see it."""


class NoAnswerError(Exception):
    """The head of an answer did not come in time."""


@asynccontextmanager
async def get(
    connector: Connector, url: str, *, headers: Mapping[str, str], silence_s: float, head_s: float, clock: Clock
) -> AsyncIterator["httpx2.Response"]:
    """The answer after all redirects, which are its `history`, its body unread.

    Args:
        connector: sends it.
        url: may hold letters and spaces in its path that have to be escaped.
        headers: sent to each of the places.
        silence_s: how long a place may send nothing.
        head_s: how long it may take from the look-up of a name to the end of an answer's head.
        clock: measures `head_s`.

    Raises:
        ForbiddenTargetError: the URL, or one that it redirects to, may not be asked.
        NoAnswerError: a head did not come within `head_s`.
        UnresolvedError, NoConnectionError, httpx2.TransportError, httpx2.InvalidURL: as `Connector.send`.
    """
    url = escaped(url)
    passed: list[httpx2.Response] = []
    for hops in range(MOST_REDIRECTS + 1):
        try:
            sending = connector.send("GET", url, headers=headers, silence_s=silence_s)
            response = await clock.wait_for(sending, head_s)
        except TimeoutError:
            raise NoAnswerError(f"no whole answer began within {head_s:g} s") from None
        except ForbiddenTargetError as error:
            raise error if not hops else ForbiddenTargetError(f"redirects to {_origin(url)}, which {error}") from None
        try:
            if response.status_code not in REDIRECTS:
                response.history = passed
                yield response
                return
            passed.append(response)
            url = following(url, response.headers.get("location", ""))
        finally:
            await response.aclose()
    raise ForbiddenTargetError(f"leads to more than {MOST_REDIRECTS} redirects; name the place where it ends")


def following(url: str, location: str) -> str:
    """Where a redirect leads. Pure.

    Raises:
        ForbiddenTargetError: nowhere, or from https to http, where anybody on the way could put something else in its place.
    """
    try:
        found = escaped(urljoin(url, location))
        scheme = urlsplit(found).scheme
    except ValueError:
        found = scheme = ""
    if not location or not found:
        raise ForbiddenTargetError("redirects to nowhere; name the place where it ends")
    if urlsplit(url).scheme == "https" and scheme == "http":
        raise ForbiddenTargetError(f"redirects from https to {_origin(found)}, which is not encrypted")
    return found


def escaped(url: str) -> str:
    """The URL with letters and spaces escaped that may not stand in one as they are (RFC 3986, 2.1)."""
    return quote(url, safe=_KEPT)


def _origin(url: str) -> str:
    """The part of a URL that holds no secret."""
    try:
        parts = urlsplit(url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"[:300]
    except ValueError:
        return "what is no URL"
