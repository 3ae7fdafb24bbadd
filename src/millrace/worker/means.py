"""What every attempt of a worker works with."""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

from msgspec import Struct

from millrace.client.async_client import AsyncClient
from millrace.domain.failures import FailureClass
from millrace.engines.engine import Engine
from millrace.wire.v1.work import TaskView
from millrace.worker.ahead import Ahead
from millrace.worker.control import Control
from millrace.worker.deliver import Destination
from millrace.worker.division import Ability
from millrace.worker.engine_run import Engines
from millrace.worker.failure import TaskFailedError
from millrace.worker.fetch import Fetcher, FetchLimits
from millrace.worker.pieces import Pieces
from millrace.worker.reuse import Store


class Means(Struct, frozen=True, kw_only=True):
    """What every attempt of a worker works with.

    Attributes:
        name: of the node, as people know it.
        client: speaks to the masters.
        engines: by name, each bound to the encoders that work.
        running: how children are run.
        fetcher, limits: how inputs come.
        destination: from a job's output to the place that it means. Raises TaskFailedError.
        holds: whether the lease surely holds at this moment.
        confirm: returns when the master has said after the call that the node lives; where the attempt is no longer
            ours, it is cancelled by then.
        keep_free_bytes: room that must stay free in the scratch folder.
        cores: processor cores that one task may keep busy.
        ahead: the probe of an input that was expected.
        abilities: by engine, how it makes parts of a film.
        pieces: fetches what others have made, for a task under a node's name, into a folder.
        stores: by engine, where finished pieces are kept; none where nothing is.
    """

    name: str
    client: AsyncClient
    engines: Mapping[str, Engine]
    running: Engines
    fetcher: Fetcher
    limits: FetchLimits
    destination: Callable[[str | None], Destination]
    holds: Callable[[], bool]
    confirm: Callable[[], Awaitable[None]]
    keep_free_bytes: int
    abilities: Mapping[str, Ability]
    pieces: Callable[[TaskView, str, Control, Path], Pieces]
    cores: int = 1
    ahead: Ahead | None = None
    stores: Mapping[str, Store] = {}

    def engine(self, name: str) -> Engine:
        """An engine by its name. Raises TaskFailedError, class `capability`."""
        engine = self.engines.get(name)
        if engine is None:
            have = ", ".join(self.engines) or "none"
            raise TaskFailedError(
                FailureClass.CAPABILITY, f"cannot run the job: this worker has no engine {name} (it has {have})"
            )
        return engine

    def ability(self, name: str) -> Ability:
        """How an engine makes parts of a film. Raises TaskFailedError, class `capability`."""
        found = self.abilities.get(name)
        if found is None:
            raise TaskFailedError(
                FailureClass.CAPABILITY, f"cannot make parts of a film: this worker has no engine {name}"
            )
        return found
