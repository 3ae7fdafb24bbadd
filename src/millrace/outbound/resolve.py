"""Names to addresses by the system's resolver, which answers when it likes: each look-up has a thread of its own, there are so many
at the most, and nobody waits for one longer than its time.

A thread that waits for an answer cannot be ended. In the event loop's own pool, which files are read with too, a few names whose
servers are silent would leave no thread for anything else, and the end of the program would wait for them.
"""

import asyncio
import socket
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

from millrace.runtime.clock import Clock, SystemClock

WAIT_S = 5.0
"""The system's resolver asks again after so long; a second time is the next try of who asked."""
MOST = 64
"""Look-ups under way, each a thread. Those of silent servers end when the system gives them up, after 10 to 40 s by default."""
MOST_OF_ONE_DOMAIN = 8
"""Of names with the same last two labels: whoever owns those decides how long all of them take."""
MOST_ADDRESSES = 32
"""Of one name; a stranger may have thousands."""

Look = Callable[[str, int], Sequence[str]]
"""The addresses of a host, best first; blocks. Raises OSError."""


class Resolver:
    """Looks names up on behalf of strangers."""

    def __init__(self, *, clock: Clock | None = None, look: Look | None = None) -> None:
        """`clock` measures the waiting; `look` replaces the system's resolver."""
        self._clock = clock or SystemClock()
        self._look = look or _ask_system
        self._under_way: dict[str, asyncio.Future[Sequence[str]]] = {}

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        """The first addresses of a host, best first.

        Raises:
            TimeoutError: it took too long.
            OSError: the name does not resolve.
        """
        return (await self._clock.wait_for(self._found(host, port), WAIT_S))[:MOST_ADDRESSES]

    async def _found(self, host: str, port: int) -> Sequence[str]:
        while host not in self._under_way and self._has_no_room(host):
            await asyncio.wait([*self._under_way.values()], return_when=asyncio.FIRST_COMPLETED)
        return await asyncio.shield(self._under_way.get(host) or self._begin(host, port))

    def _has_no_room(self, host: str) -> bool:
        alike = sum(_domain(other) == _domain(host) for other in self._under_way)
        return len(self._under_way) >= MOST or alike >= MOST_OF_ONE_DOMAIN

    def _begin(self, host: str, port: int) -> "asyncio.Future[Sequence[str]]":
        loop = asyncio.get_running_loop()
        looking = self._under_way[host] = loop.create_future()

        def end(found: Sequence[str] | Exception) -> None:
            del self._under_way[host]
            if isinstance(found, Exception):
                looking.set_exception(found)
                looking.exception()  # perhaps nobody waits any more
            else:
                looking.set_result(found)

        def work() -> None:
            found: Sequence[str] | Exception
            try:
                found = self._look(host, port)
            except Exception as error:  # noqa: BLE001  it belongs to who asked
                found = error
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(end, found)

        threading.Thread(target=work, name="look-up", daemon=True).start()
        return looking


def _domain(host: str) -> str:
    return ".".join(host.lower().rsplit(".", 2)[-2:])


def _ask_system(host: str, port: int) -> Sequence[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise OSError(str(error)) from error
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
