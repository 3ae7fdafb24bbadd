"""What the parts of a film have made: fetched from the master to where it is joined, each file with its SHA-256."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

from msgspec import Struct

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.domain.failures import FailureClass
from millrace.domain.media.proof import Maker
from millrace.domain.media.split import Chunk
from millrace.engines.joining import chunk_folder
from millrace.runtime.clock import Clock
from millrace.wire.v1.work import MadeView, PieceView
from millrace.worker.control import Control
from millrace.worker.digest import digest_of
from millrace.worker.download import download
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetching, FetchLimits
from millrace.worker.fetch_master import master_source
from millrace.worker.media_steps import PIECES
from millrace.worker.shared_store import SharedStore

AT_ONCE = 4
OUT = "out"


class Pieces(Struct, frozen=True, kw_only=True):
    """Fetches for one attempt that joins: `task`, `node` and `attempt` name it, `folder` is its own."""

    client: AsyncClient
    clock: Clock
    draw: Callable[[], float]
    limits: FetchLimits
    control: Control
    task: str
    node: str
    attempt: int
    folder: Path
    shared: SharedStore | None = None

    async def fetch(self, parts: Sequence[MadeView], told: Callable[[float], None]) -> None:
        """Bring every piece to its place below the folder, a few at a time; `told` hears the part (0..1) that is there.

        Raises:
            TaskFailedError: a piece does not come, is not what its maker sent, or would lie elsewhere.
            HandBackError: there is no room.
            StaleError: the attempt is over.
        """
        turns = asyncio.Semaphore(AT_ONCE)
        total = sum(piece.size for part in parts for piece in part.pieces) or 1
        have = 0

        async def one(part: MadeView, piece: PieceView) -> None:
            nonlocal have
            async with turns:
                await self.control.gate()
                await self._one(part, piece)
            have += piece.size
            told(have / total)

        tasks = [asyncio.ensure_future(one(part, piece)) for part in parts for piece in part.pieces]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)

    async def _one(self, part: MadeView, piece: PieceView) -> None:
        position = part.position
        target = self.folder / place_of(piece.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        fetching = Fetching(
            location=f"part {position}'s {piece.name}",
            target=target,
            limits=self.limits,
            control=self.control,
            told=lambda *_: None,
        )
        if self.shared is None or not part.prefix or not await self.shared.bring(part.prefix + piece.name, fetching):
            await self._from_master(position, piece, fetching)
        if await asyncio.to_thread(digest_of, target) != piece.sha256:
            raise TaskFailedError(
                FailureClass.NETWORK, f"cannot join the film: {piece.name} of part {position} came with another content"
            )

    async def _from_master(self, position: int, piece: PieceView, fetching: Fetching) -> None:
        path = work.piece_path(self.task, position, piece.name)
        query = (("node", self.node), ("attempt", str(self.attempt)))
        source = master_source(self.client, fetching, path, query)
        await download(fetching, source, clock=self.clock, draw=self.draw)


def place_of(name: str) -> PurePosixPath:
    """Where a piece lies below the folder of an attempt. Raises TaskFailedError for a name that leads elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or len(path.parts) < 2 or path.parts[0] not in (OUT, PIECES) or ".." in path.parts:
        raise TaskFailedError(FailureClass.OUTPUT, f"cannot join the film: {name[:80]!r} is no name of a piece")
    return path


def makers(job: str, chunks: Sequence[Chunk], parts: Sequence[MadeView]) -> Mapping[int, Maker]:
    """Who made each chunk.

    Raises:
        TaskFailedError: nobody made one of them, or two did.
    """
    found: dict[int, Maker] = {}
    for part in parts:
        folders = {place_of(piece.name).parts[1] for piece in part.pieces if piece.name.startswith(f"{PIECES}/")}
        made = [chunk.number for chunk in chunks if chunk_folder(chunk) in folders]
        for number in made:
            if number in found:
                raise TaskFailedError(FailureClass.OUTPUT, f"cannot join the film: two parts made chunk {number}")
            found[number] = Maker(
                node=part.node_name, task=f"{job}.{part.position}", attempt=part.attempt, beat=part.beat
            )
    lacking = [chunk.number for chunk in chunks if chunk.number not in found]
    if lacking:
        raise TaskFailedError(FailureClass.OUTPUT, f"cannot join the film: nobody made chunk {lacking[0]}")
    return found
