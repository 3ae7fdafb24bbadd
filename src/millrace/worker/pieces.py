"""What the parts of a film have made: fetched from the master to where it is joined, each file with its SHA-256."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path, PurePosixPath

import msgspec
from msgspec import Struct

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError, StaleError
from millrace.domain.failures import FailureClass
from millrace.domain.media.byte_ranges import Ranges
from millrace.domain.media.outputs import Plan
from millrace.domain.media.proof import Maker, Reused
from millrace.domain.media.split import Chunk
from millrace.engines.joining import chunk_folder
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import MadeView, PieceView
from millrace.worker.control import Control
from millrace.worker.digest import digest_of
from millrace.worker.download import download
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetching, FetchLimits
from millrace.worker.fetch_master import master_source
from millrace.worker.media_steps import PIECES, MediaSteps
from millrace.worker.shared_store import SharedStore

log = logger("worker")

AT_ONCE = 4
OUT = "out"
_HANDED = "handed-on-"
TRIES = 2
"""What came with another content may have been changed on its way."""
_GONE = frozenset({FailureClass.NETWORK, FailureClass.INPUT})
"""Classes of a piece that does not come whole, though there is room for it here."""


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

    async def fetch(self, parts: Sequence[MadeView], told: Callable[[float], None]) -> Mapping[int, str]:
        """Bring every piece to its place below the folder, a few at a time; `told` hears the part (0..1) that is there.

        Returns the positions of parts of which a piece does not come, or is not what its maker sent, with the reason. Nothing of them
        lies in the folder.

        Raises:
            TaskFailedError: a piece would lie elsewhere, or cannot be written.
            HandBackError: there is no room.
            StaleError: the attempt is over.
        """
        turns = asyncio.Semaphore(AT_ONCE)
        total = sum(piece.size for part in parts for piece in part.pieces) or 1
        have = 0
        lost: dict[int, str] = {}

        async def one(part: MadeView, piece: PieceView) -> None:
            nonlocal have
            async with turns:
                await self.control.gate()
                if part.position not in lost and (reason := await self._one(part, piece)):
                    lost[part.position] = reason
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
        for part in parts:
            if part.position in lost:
                await asyncio.to_thread(remove, self.folder, part)
        return lost

    async def cached(self, key: str, target: Path) -> bool:
        """Fetch what the master keeps under a key for later jobs; whether it is there. Raises HandBackError, TaskFailedError, StaleError."""
        fetching = Fetching(
            location=f"piece {key[:12]}",
            target=target,
            limits=self.limits,
            control=self.control,
            told=lambda *_: None,
        )
        query = (("node", self.node), ("attempt", str(self.attempt)))
        source = master_source(self.client, fetching, work.cached_path(self.task, key), query)
        try:
            await download(fetching, source, clock=self.clock, draw=self.draw)
        except TaskFailedError as error:
            if error.failure.failure_class not in _GONE:
                raise
            return False
        return True

    async def cache(self, key: str, path: Path) -> bool:
        """Let the master keep a file for later jobs; whether it does. Raises StaleError."""
        size = (await asyncio.to_thread(path.stat)).st_size
        call = work.put_cached(self.task, key, node=self.node, attempt=self.attempt, path=path, size=size)
        try:
            await self.client.do(call)
        except StaleError:
            raise
        except ClientError as error:
            log.info("worker.piece_not_kept", reason=str(error))
            return False
        return True

    async def _one(self, part: MadeView, piece: PieceView) -> str:
        """Fetch it; why it is not here whole, or nothing where it is."""
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
        if self.shared is not None and part.prefix and await self.shared.bring(part.prefix + piece.name, fetching):
            if await asyncio.to_thread(digest_of, target) == piece.sha256:
                return ""
            await asyncio.to_thread(target.unlink)  # it may be another name of what is stored: never write into that
        path = work.piece_path(self.task, position, piece.name)
        query = (("node", self.node), ("attempt", str(self.attempt)))
        source = master_source(self.client, fetching, path, query)
        for _ in range(TRIES):
            try:
                await download(fetching, source, clock=self.clock, draw=self.draw)
            except TaskFailedError as error:
                if error.failure.failure_class not in _GONE:
                    raise
                return str(error)
            if await asyncio.to_thread(digest_of, target) == piece.sha256:
                return ""
        return f"{piece.name} of part {position} came with another content"


def remove(folder: Path, part: MadeView) -> None:
    """Remove what came of a part's pieces. Blocking. Raises TaskFailedError, as `place_of`."""
    for piece in part.pieces:
        (folder / place_of(piece.name)).unlink(missing_ok=True)


def place_of(name: str) -> PurePosixPath:
    """Where a piece lies below the folder of an attempt. Raises TaskFailedError for a name that leads elsewhere."""
    path = PurePosixPath(name)
    if path.is_absolute() or len(path.parts) < 2 or path.parts[0] not in (OUT, PIECES) or ".." in path.parts:
        raise TaskFailedError(FailureClass.OUTPUT, f"cannot join the film: {name[:80]!r} is no name of a piece")
    return path


def made_in(part: MadeView, chunks: Sequence[Chunk]) -> list[int]:
    """The numbers of the chunks that a part made; none where it made sound and text."""
    folders = {place_of(piece.name).parts[1] for piece in part.pieces if piece.name.startswith(f"{PIECES}/")}
    return [chunk.number for chunk in chunks if chunk_folder(chunk) in folders]


def makers(job: str, chunks: Sequence[Chunk], parts: Sequence[MadeView]) -> Mapping[int | None, Maker]:
    """Who made each chunk, and (None) sound and text.

    Raises:
        TaskFailedError: nobody made one of them, or two did.
    """
    found: dict[int | None, Maker] = {}
    for part in parts:
        for number in made_in(part, chunks) or (None,):
            if number in found:
                raise TaskFailedError(FailureClass.OUTPUT, f"cannot join the film: two parts made {_named(number)}")
            found[number] = Maker(
                node=part.node_name, task=f"{job}.{part.position}", attempt=part.attempt, beat=part.beat
            )
    lacking = [chunk.number for chunk in chunks if chunk.number not in found]
    if lacking:
        raise TaskFailedError(FailureClass.OUTPUT, f"cannot join the film: nobody made chunk {lacking[0]}")
    return found


class Wrong(Struct, frozen=True, kw_only=True):
    """A part that has to be made again: its chunk (None for sound and text), and why."""

    chunk: Chunk | None
    reason: str

    @property
    def name(self) -> str:
        """As people call it."""
        return _named(None if self.chunk is None else self.chunk.number)


def _named(chunk: int | None) -> str:
    return "the sound" if chunk is None else f"chunk {chunk}"


async def wrong_parts(
    steps: MediaSteps, plan: Plan, parts: Sequence[MadeView], lost: Mapping[int, str]
) -> Sequence[Wrong]:
    """The parts that have to be made again: those that are `lost`, by their positions, and chunks with another number of frames than
    planned, of which nothing is left in the folder. Raises TaskFailedError.
    """
    found: list[Wrong] = []
    for part in parts:
        numbers = made_in(part, plan.split.chunks)
        chunks = [chunk for chunk in plan.split.chunks if chunk.number in numbers]
        if part.position in lost:
            found += [Wrong(chunk=chunk, reason=lost[part.position]) for chunk in chunks or (None,)]
            continue
        for chunk in chunks:
            if wrong := await steps.miscounted(plan, chunk):
                await asyncio.to_thread(remove, steps.folder, part)
                found.append(Wrong(chunk=chunk, reason=f"part {part.position} made {wrong}"))
    return found


class Handed(Struct, frozen=True, kw_only=True):
    """What the makers of parts put down for who joins: what they took from a cache, the keys of all that may lie in one now, the seconds
    of all cores that their engines took (None: a worker of an older version does not say), and what they have read of an upload that had
    not arrived.
    """

    reused: tuple[Reused, ...] = ()
    keys: tuple[str, ...] = ()
    cpu_s: float | None = None
    read: tuple[Ranges, ...] = ()


async def hand_on(steps: MediaSteps, chunk: Chunk | None) -> Mapping[str, int]:
    """Put it down for one part: the file's size by its path below the attempt's folder; nothing where there is nothing to say. Raises OSError."""
    name = f"{_HANDED}{'sides' if chunk is None else chunk.number}.json"
    keys = () if steps.reuse is None else tuple(steps.reuse.touched)
    read = () if steps.read is None else (steps.read,)
    if not keys and not read and not steps.cpu_s:
        return {}
    handed = Handed(reused=tuple(steps.reused), keys=keys, cpu_s=steps.cpu_s, read=read)
    data = msgspec.json.encode(handed)
    await asyncio.to_thread((steps.work / name).write_bytes, data)
    return {f"{PIECES}/{name}": len(data)}


async def handed_on(steps: MediaSteps, parts: Sequence[MadeView]) -> Handed:
    """What the makers of all parts have put down, as far as it is here. Raises TaskFailedError."""
    reused: list[Reused] = []
    keys: list[str] = []
    took: list[float | None] = []
    read: list[Ranges] = []
    for part in parts:
        name = next((piece.name for piece in part.pieces if piece.name.startswith(f"{PIECES}/{_HANDED}")), None)
        try:
            one = Handed() if name is None else await asyncio.to_thread(_read, steps.folder / place_of(name))
        except FileNotFoundError:
            continue  # that part was made again here
        except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise TaskFailedError(
                FailureClass.OUTPUT, f"cannot join the film: {name} cannot be read: {error}"
            ) from None
        reused += one.reused
        keys += one.keys
        read += one.read
        took.append(one.cpu_s)
    known = [each for each in took if each is not None]
    cpu_s = sum(known) if len(known) == len(took) else None
    return Handed(reused=tuple(reused), keys=tuple(keys), cpu_s=cpu_s, read=tuple(read))


def _read(path: Path) -> Handed:
    return msgspec.json.decode(path.read_bytes(), type=Handed)
