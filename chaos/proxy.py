"""A door: where a host reaches a server, and where what it says may be held up, lost, cut off or torn in the middle.

It knows nothing of HTTP but that an exchange is a request and what comes back; so it serves for PostgreSQL as well. Each host
has doors of its own, so a fault of one host is none of the others.
"""

import asyncio
import socket
import struct
from collections import Counter
from contextlib import suppress
from enum import Enum, auto
from random import Random

from msgspec import Struct

_RESET = struct.pack("ii", 1, 0)
"""SO_LINGER with which a close is a reset (socket(7))."""
_PIECE = 1 << 16
_LONGEST_WORD = 20
"""Longer parts of a path are ids."""


class Weather(Struct, kw_only=True):
    """Parts of all exchanges, and seconds."""

    lost_request: float = 0.0
    """The connection breaks before anything has arrived."""
    lost_reply: float = 0.0
    """It breaks after the request had its effect, and before its answer."""
    half: float = 0.0
    """It breaks in the middle of the request or of the answer."""
    delay_s: float = 0.0
    """On the way there, and again on the way back."""


class Line:
    """What a host's traffic goes through: its weather, and whether it is cut. A cut keeps bytes back, as TCP would."""

    def __init__(self) -> None:
        self.weather = Weather()
        self.up, self.down = asyncio.Event(), asyncio.Event()
        self.heal()

    def cut(self, *, up: bool, down: bool) -> None:
        """Nothing passes from the host (`up`), to it (`down`)."""
        for cut, gate in ((up, self.up), (down, self.down)):
            if cut:
                gate.clear()

    def heal(self) -> None:
        """All is well."""
        self.weather = Weather()
        self.up.set()
        self.down.set()


class _Fate(Enum):
    WELL = auto()
    LOST_REQUEST = auto()
    LOST_REPLY = auto()
    HALF_REQUEST = auto()
    HALF_REPLY = auto()


class Door:
    """One. It is open while its server is there, so that whoever knocks at a dead one is refused."""

    def __init__(
        self, line: Line, server: tuple[str, int], chance: Random, statuses: "Counter[tuple[str, int]]"
    ) -> None:
        """`statuses` counts the answers by request (method and path) and status, where HTTP is spoken."""
        self._line, self._server, self._chance, self._statuses = line, server, chance, statuses
        self._listening: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.address = ("", 0)

    async def open(self, host: str) -> None:
        """Listen at the host's side, always on the same port; as often as one likes."""
        if self._listening is None:
            self._listening = await asyncio.start_server(self._enter, host, self.address[1])
            self.address = self._listening.sockets[0].getsockname()[:2]

    async def close(self) -> None:
        """Refuse whoever comes. What is open ends by itself, with its server."""
        if self._listening is not None:
            self._listening.close()
            self._listening = None

    async def end(self) -> None:
        """Close it for ever."""
        await self.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    def _enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, away = await asyncio.open_connection(*self._server)
        except OSError:
            _reset(writer)
            return
        passage = _Passage(self._line, self._chance, self._statuses)
        ways = [
            asyncio.ensure_future(passage.up(reader, away)),
            asyncio.ensure_future(passage.down(there, writer)),
        ]
        try:
            done, _ = await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            torn = any(way.cancelled() or way.exception() or way.result() for way in done)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
        for side in (writer, away):
            if torn:
                _reset(side)
            else:
                side.close()


class _Passage:
    """One connection. `up` and `down` return whether it is to be torn."""

    def __init__(self, line: Line, chance: Random, statuses: "Counter[tuple[str, int]]") -> None:
        self._line, self._chance, self._statuses = line, chance, statuses
        self._asking = False
        self._fate = _Fate.WELL
        self._request = ""

    async def up(self, reader: asyncio.StreamReader, away: asyncio.StreamWriter) -> bool:
        while data := await reader.read(_PIECE):
            if not self._asking:
                self._asking = True
                self._fate = self._draw()
                self._request = _request(data)
            await self._pass(self._line.up)
            if self._fate is _Fate.LOST_REQUEST:
                return True
            if self._fate is _Fate.HALF_REQUEST:
                away.write(data[: len(data) // 2])
                with suppress(OSError):
                    await away.drain()
                return True
            away.write(data)
            await away.drain()
        return False

    async def down(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        while data := await reader.read(_PIECE):
            if self._asking:
                self._asking = False
                if data.startswith(b"HTTP/1.1 "):
                    self._statuses[self._request, int(data[9:12])] += 1
            await self._pass(self._line.down)
            if self._fate is _Fate.LOST_REPLY:
                return True
            if self._fate is _Fate.HALF_REPLY:
                writer.write(data[: len(data) // 2])
                with suppress(OSError):
                    await writer.drain()
                return True
            writer.write(data)
            await writer.drain()
        return False

    async def _pass(self, gate: asyncio.Event) -> None:
        if self._line.weather.delay_s:
            await asyncio.sleep(self._line.weather.delay_s * self._chance.uniform(0.2, 1.8))
        await gate.wait()

    def _draw(self) -> _Fate:
        weather, dice = self._line.weather, self._chance.random()
        for fate, part in (
            (_Fate.LOST_REQUEST, weather.lost_request),
            (_Fate.LOST_REPLY, weather.lost_reply),
            (_Fate.HALF_REQUEST, weather.half / 2),
            (_Fate.HALF_REPLY, weather.half / 2),
        ):
            dice -= part
            if dice < 0:
                return fate
        return _Fate.WELL


def _request(data: bytes) -> str:
    """`POST /v1/jobs` of a request's first bytes, with numbers and ids left out; nothing where it is none."""
    words = data.split(b"\r\n", 1)[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/"):
        return ""
    path = words[1].split(b"?")[0].decode("ascii", "replace")
    parts = ("*" if part.isdigit() or len(part) > _LONGEST_WORD else part for part in path.split("/"))
    return f"{words[0].decode()} {'/'.join(parts)}"


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    with suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    writer.transport.abort()
