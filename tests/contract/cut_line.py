"""A line to PostgreSQL that breaks where it hurts most: before a commit has arrived, or when it has and its answer is on the way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from pathlib import Path

_SOCKET = ".s.PGSQL.5432"


class Cut(Enum):
    BEFORE = "before"  # nothing has arrived
    AFTER = "after"  # it is done, and nobody is told


class CutLine:
    """Between a store and a server that listens on a unix socket. Frames: PostgreSQL's protocol 3.0, chapter 54."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self._armed: Cut | None = None
        self.cuts = 0

    def cut(self, where: Cut) -> None:
        """Break the connection of the next write that is answered when it is durable, in its commit."""
        self._armed = where

    @asynccontextmanager
    async def open(self, folder: Path) -> AsyncIterator[None]:
        server = await asyncio.start_unix_server(self._serve, folder / _SOCKET)
        try:
            yield
        finally:
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, away = await asyncio.open_unix_connection(self._server / _SOCKET)
        swallowing = asyncio.Event()
        down = asyncio.create_task(self._down(back, writer, swallowing))
        with suppress(asyncio.IncompleteReadError, OSError):
            await self._up(reader, away, swallowing)
        if not swallowing.is_set():
            down.cancel()
        await asyncio.wait((down,))
        away.transport.abort()
        writer.transport.abort()

    async def _up(self, reader: asyncio.StreamReader, away: asyncio.StreamWriter, swallowing: asyncio.Event) -> None:
        begin = await reader.readexactly(4)
        begin += await reader.readexactly(int.from_bytes(begin) - 4)
        away.write(begin)
        hot = b"plan_cache_mode\0force_generic_plan" in begin  # each statement is a transaction
        lasts = b"synchronous_commit\0on" in begin
        writing: dict[bytes, bool] = {}  # by the statement's name; the driver asks for types and settings in between
        writes = False
        while True:
            head = await reader.readexactly(5)
            body = await reader.readexactly(int.from_bytes(head[1:]) - 4)
            if head[:1] == b"P":
                writing[body.partition(b"\0")[0]] = b"INSERT INTO" in body or b"UPDATE" in body
            elif head[:1] == b"B":
                writes = writing.get(body.split(b"\0", 2)[1], False)
            commits = head[:1] == b"E" and writes if hot else head[:1] == b"Q" and body.startswith(b"COMMIT")
            if lasts and commits and self._armed is not None:
                armed, self._armed = self._armed, None
                self.cuts += 1
                if armed is Cut.BEFORE:
                    return
                swallowing.set()
            away.write(head + body)

    async def _down(self, back: asyncio.StreamReader, writer: asyncio.StreamWriter, swallowing: asyncio.Event) -> None:
        with suppress(asyncio.IncompleteReadError, OSError):
            while True:
                head = await back.readexactly(5)
                body = await back.readexactly(int.from_bytes(head[1:]) - 4)
                if not swallowing.is_set():
                    writer.write(head + body)
                elif head[:1] == b"Z":  # ready for the next: it is done
                    break
        writer.transport.abort()
