"""One film on several workers: what the worker that divides it asks and says, and what those who make parts of it are told."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError, StaleError
from millrace.domain.failures import FailureClass
from millrace.domain.media.byte_ranges import Ranges
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan_document import PlanError, plan_from, to_document
from millrace.domain.media.split import Chunk
from millrace.domain.records import Kind, NewPart
from millrace.engines.engine import Engine
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import HelpersRequest, PartRequest, PartView, SplitRequest, TaskView
from millrace.worker.failure import TaskFailedError
from millrace.worker.source import Identity, marks_of
from millrace.worker.with_facts import with_facts

log = logger("worker")


class Ability(Struct, frozen=True, kw_only=True):
    """How an engine makes parts together with those of other workers: `name` is the same where the build is, `bind` makes the engine
    for some encoders alone.
    """

    name: str
    bind: Callable[[frozenset[str] | None], Engine]


class SharedFilm(Struct, frozen=True, kw_only=True):
    """What the source is, so that who makes a part need not read all of it, and whether the farm keeps finished pieces of it."""

    identity: Identity
    is_kept: bool = False


class Order(Struct, frozen=True, kw_only=True):
    """What the parts of a film go by: its plan, the encoders of the worker that divided it, the length of the source in bytes, and the
    facts about it that are kept with the job. `film` is what is known of it for finished pieces. Where the source comes over the network,
    its SHA-256, and for each part by its name what it needs of it, where that is known. `early` is what was read of an upload that had
    not arrived: there nobody knows the SHA-256 of anything else, so each part says what it has read, and who joins compares it.
    """

    plan: Mapping[str, object]
    encoders: list[str]
    source_bytes: int
    probe: Mapping[str, object] | None = None
    film: SharedFilm | None = None
    source_sha256: str = ""
    ranges: Mapping[str, Ranges] = {}
    early: Ranges | None = None


class Shared(Struct, frozen=True, kw_only=True):
    """A film divided over several workers: its plan, the SHA-256 of an input that is fetched, and what the parts need of that, by their
    names.
    """

    plan: Plan
    source_sha256: str = ""
    ranges: Mapping[str, Ranges] = {}


class Division(Struct, frozen=True, kw_only=True):
    """One attempt's talk with the master about dividing its film."""

    client: AsyncClient
    task: TaskView
    node: str
    ability: Ability
    encoders: Sequence[str]

    async def helpers(self) -> int:
        """How many parts others could make now; 0 where the master does not know of parts. Raises StaleError."""
        request = HelpersRequest(
            node=self.node, attempt=self.task.attempt, engine=self.ability.name, encoders=list(self.encoders)
        )
        try:
            reply = await self.client.do(work.helpers(self.task.task, request))
        except StaleError:
            raise
        except ClientError as error:
            log.info("worker.works_alone", reason=str(error))
            return 0
        return reply.slots

    async def divide(self, order: Order, parts: Sequence[NewPart], planned: Mapping[str, object]) -> str:
        """End the attempt by dividing its job, whose facts are `planned` from now on; why that was refused, or nothing where it was
        not. Raises StaleError.
        """
        request = SplitRequest(
            node=self.node,
            attempt=self.task.attempt,
            engine=self.ability.name,
            encoders=list(self.encoders),
            parts=[_request(part) for part in parts],
            plan=msgspec.to_builtins(order),
        )
        try:
            await with_facts(
                self.client, lambda facts: work.split(self.task.task, replace(request, facts=facts)), planned
            )
        except StaleError:
            raise
        except ClientError as error:
            return str(error)
        log.info("worker.task_divided", parts=len(parts))
        return ""


def _request(part: NewPart) -> PartRequest:
    kind: Literal["chunk", "sides"] = "chunk" if part.kind is Kind.CHUNK else "sides"
    return PartRequest(kind=kind, number=part.number, frames=part.frames, awaits=part.awaits)


def order_for(shared: Shared, encoders: Sequence[str], source: Path, probe: Mapping[str, object] | None) -> Order:
    """What is said to those who make the parts. Blocking. Raises OSError."""
    return Order(
        plan=to_document(shared.plan),
        encoders=list(encoders),
        source_bytes=source.stat().st_size,
        probe=probe,
        source_sha256=shared.source_sha256,
        ranges=shared.ranges,
    )


def part_name(chunk: Chunk | None) -> str:
    """How an order names a part: by the number of its chunk, or `sides` for sound and text."""
    return str(Kind.SIDES) if chunk is None else str(chunk.number)


def ranges_in(order: Order, chunk: Chunk | None) -> Ranges | None:
    """What a part needs of the source; None where that is not known, so that it needs all. Raises TaskFailedError."""
    found = order.ranges.get(part_name(chunk))
    if found is None:
        return None
    fault = found.fault or ("its input has another length" if found.size != order.source_bytes else "")
    if fault:
        raise TaskFailedError(FailureClass.ENGINE, f"cannot make this part: {fault}")
    return found


def order_of(part: PartView) -> tuple[Order, Plan]:
    """Read what the worker that divided the film said. Raises TaskFailedError."""
    try:
        order = msgspec.convert(part.plan, Order)
        return order, plan_from(order.plan)
    except (msgspec.ValidationError, PlanError) as error:
        raise TaskFailedError(FailureClass.ENGINE, f"cannot make this part: {error}") from None


def chunk_of(part: PartView, plan: Plan) -> Chunk | None:
    """The chunk that the part is to make; None for sound and text. Raises TaskFailedError."""
    if part.kind is Kind.SIDES:
        return None
    found = next((chunk for chunk in plan.split.chunks if chunk.number == part.number), None)
    if found is None:
        raise TaskFailedError(FailureClass.ENGINE, f"cannot make this part: its plan has no chunk {part.number}")
    return found


def check_source(order: Order, source: Path) -> None:
    """Pass, unless the input is not what it was when the film was divided. Blocking. Raises TaskFailedError."""
    size = source.stat().st_size
    if size != order.source_bytes:
        raise TaskFailedError(
            FailureClass.INPUT,
            f"cannot make this part: the input has {size} bytes, and had {order.source_bytes} when the film was divided; it must not "
            "change while it is read",
        )


def film_of(order: Order, source: Path) -> SharedFilm:
    """What is known of a film that was fetched, for finished pieces: it was compared with the one that was divided, also where it has
    holes, so nobody reads it once more to know. Blocking. Raises OSError.
    """
    is_kept = order.film is not None and order.film.is_kept
    return SharedFilm(identity=Identity(marks_of(source), order.source_sha256), is_kept=is_kept)
