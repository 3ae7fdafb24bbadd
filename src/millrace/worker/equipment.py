"""What a worker works with, put together from its terms: engines with proven encoders, ways in, ways out."""

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from millrace.client.async_client import AsyncClient
from millrace.outbound.guard import Guard
from millrace.process.sandbox import Able
from millrace.runtime.clock import Clock
from millrace.worker.ahead import Ahead
from millrace.worker.bounds import Bounds
from millrace.worker.deliver import Destination
from millrace.worker.deliver_folder import FolderDestination
from millrace.worker.deliver_master import MasterDestination
from millrace.worker.engine_run import Engines
from millrace.worker.engines_alive import EnginesAlive
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetcher, RemoteFetch
from millrace.worker.fetch_http import HttpFetch
from millrace.worker.fetch_master import UploadFetch
from millrace.worker.kept_inputs import KeptInputs
from millrace.worker.object_store import ObjectDestination, ObjectFetch
from millrace.worker.proofs import EngineSource, Proven, prove
from millrace.worker.roots import Roots
from millrace.worker.sessions import count_sessions
from millrace.worker.shared_store import SharedStore
from millrace.worker.terms import WorkerTerms

PROOFS = "proofs.json"
MOST_URL_CHARS = 8192
"""Signed addresses of buckets are long."""


class Equipment(Struct, frozen=True, kw_only=True):
    """Made once for a worker's life. `kept` is prepared at its beginning, `http` closed at its end."""

    running: Engines
    roots: Roots
    fetcher: Fetcher
    destination: Callable[[str | None], Destination]
    http: HttpFetch
    kept: KeptInputs
    shared: SharedStore | None = None

    async def close(self) -> None:
        """Close connections."""
        await self.http.close()


def equip(
    terms: WorkerTerms,
    client: AsyncClient,
    alive: EnginesAlive,
    *,
    able: Able | None,
    bounds: Bounds,
    clock: Clock,
    draw: Callable[[], float],
) -> Equipment:
    """Put it together; nothing is started or opened. `able` is how engines are shut in, `bounds` what each may take."""
    guard = Guard(allowed=terms.input_networks, option="--input-allow-network", most_chars=MOST_URL_CHARS)
    http = HttpFetch(guard, clock=clock, draw=draw)
    remote: dict[str, RemoteFetch] = {
        "http": http,
        "https": http,
        "upload": UploadFetch(client, clock=clock, draw=draw),
    }
    if terms.open_store is not None:
        remote["s3"] = ObjectFetch(terms.open_store, clock=clock, draw=draw)
    roots = Roots(terms.roots, terms.outputs)
    running = Engines(clock=clock, alive=alive, stall_s=terms.stall_s, nice=terms.nice, able=able, bounds=bounds)
    if terms.environment is not None:
        running = replace(running, environment=terms.environment)

    shared = None if terms.shared is None else SharedStore(terms.shared, client, clock=clock, draw=draw)

    def destination(output: str | None) -> Destination:
        if output is None:
            return MasterDestination(client, shared)
        if output.startswith("s3://") and terms.open_store is not None:
            return ObjectDestination(terms.open_store, output)
        return FolderDestination(roots.output(output))

    kept = KeptInputs(terms.scratch / "inputs", most_bytes=terms.kept_bytes, keep_s=terms.keep_s, clock=clock)
    return Equipment(
        running=running,
        roots=roots,
        fetcher=Fetcher(roots, remote, kept),
        destination=destination,
        http=http,
        kept=kept,
        shared=shared,
    )


def begin(terms: WorkerTerms, equipment: Equipment, *, clock: Clock, folder: Path) -> Ahead | None:
    """Begin to probe what is expected. Where it cannot be, its task will say why; `folder` is where engines may work."""
    if terms.expects is None or not terms.engines:
        return None
    try:
        source = equipment.roots.input(str(terms.expects))
    except TaskFailedError:
        return None
    command = terms.engines[0].bind(None).probe(source)
    return Ahead(command, engines=equipment.running, clock=clock, folder=folder)


async def prove_all(
    terms: WorkerTerms, running: Engines, *, clock: Clock, folder: Path, anew: bool = False
) -> Sequence[Proven]:
    """Try the encoders of every engine that are not known, or `anew` all, and count the sessions of those of hardware; `folder` is where
    the trials may write.
    """
    cache, environment, able = terms.proofs or terms.state / PROOFS, running.environment, running.able

    async def proved(source: EngineSource) -> Proven:
        found = await prove(
            source, cache=cache, environment=environment, able=able, clock=clock, folder=folder, anew=anew
        )
        sessions = await count_sessions(
            source, found, given=terms.sessions, cache=cache, environment=environment, able=able, clock=clock, folder=folder
        )  # fmt: skip
        return replace(found, sessions=sessions)

    return await asyncio.gather(*map(proved, terms.engines))
