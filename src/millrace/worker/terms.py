"""What a worker is and may do, as one value."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct, field

from millrace.blobs.values import Blobs
from millrace.outbound.addresses import Network
from millrace.process.sandbox import Demand
from millrace.worker.cache import CacheTerms
from millrace.worker.fetch import FetchLimits
from millrace.worker.object_store import OpenStore
from millrace.worker.proofs import EngineSource


class WorkerTerms(Struct, frozen=True, kw_only=True):
    """All explicit: composition roots decide.

    Attributes:
        name: what people call the node.
        state: the folder that makes it the same node after a restart.
        scratch: the folder where attempts work; nobody else's.
        roots: folders (or single files) that inputs and outputs by path must lie in.
        expects: the input of a task that will come at once; it is probed while the worker registers.
        outputs: single folders that an output may become, beside those below the roots.
        proofs: the file where proven encoders are remembered; None for one in the state folder.
        engines: what to run jobs with.
        slots: tasks at the same time.
        sessions: of families of hardware encoders, how many sessions each has at once; one that is left out is counted.
        cores: processor cores that one task may keep busy.
        labels, facts: told to the master.
        memory_mb: offered to jobs that ask for some.
        keep_free_bytes: room that must stay free in the scratch folder; below it work is handed back.
        environment: of every engine; None for a bare one.
        stall_s: how long an engine may stand still.
        describe_s: how long a probe may take; more, as its file is large.
        engine_memory_bytes: what one engine may take of memory, with all that it starts; None for no limit.
        engine_pids: processes and threads of one engine; None for no limit.
        nice: added to the niceness of engines.
        claim_wait_s: how long a claim waits for work.
        timeout_s: time limit of jobs that name none.
        input_networks: where `http(s)` inputs may lie although it is not public.
        fetch: limits of fetches.
        kept_bytes: how many bytes of inputs that were fetched are kept for the next task that wants the same; 0 for none.
        keep_s: how long they are kept after their last use.
        sandbox: whether engines are shut in.
        shared: the store in which the masters keep blobs, where this worker reaches it itself; None where it does not.
        cache: where finished pieces are kept; None for nowhere.
        open_store: opens `s3://` with this worker's keys; None where it has none.
    """

    name: str
    state: Path
    scratch: Path
    roots: Sequence[Path] = ()
    expects: Path | None = None
    outputs: Sequence[Path] = ()
    proofs: Path | None = None
    engines: Sequence[EngineSource] = ()
    slots: int = 1
    sessions: Mapping[str, int] = field(default_factory=dict)
    cores: int = 1
    labels: Mapping[str, str] = field(default_factory=dict)
    facts: Mapping[str, object] = field(default_factory=dict)
    memory_mb: int = 0
    keep_free_bytes: int = 500_000_000
    environment: Mapping[str, str] | None = None
    stall_s: float = 120.0
    describe_s: float = 120.0
    engine_memory_bytes: int | None = None
    engine_pids: int | None = None
    nice: int = 0
    claim_wait_s: float = 20.0
    timeout_s: float | None = None
    input_networks: Sequence[Network] = ()
    fetch: FetchLimits = field(default_factory=FetchLimits)
    kept_bytes: int = 0
    keep_s: float = 3600.0
    sandbox: Demand = Demand.OFF
    shared: Blobs | None = None
    cache: CacheTerms | None = None
    open_store: OpenStore | None = None
