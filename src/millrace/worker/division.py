"""One film on several workers: what the worker that divides it asks and says, and what those who make parts of it are told."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError, StaleError
from millrace.domain.failures import FailureClass
from millrace.domain.media.outputs import Plan
from millrace.domain.media.plan_document import PlanError, plan_from, to_document
from millrace.domain.media.split import Chunk
from millrace.domain.records import Kind, NewPart
from millrace.engines.engine import Engine
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import HelpersRequest, PartRequest, PartView, SplitRequest, TaskView
from millrace.worker.failure import TaskFailedError
from millrace.worker.source import Identity
from millrace.worker.source_watch import look

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
    """What the parts of a film go by: its plan, the encoders of the worker that divided it, the length of the source in bytes and the
    digest of samples of it (empty: from a worker of before), and the facts about it that are kept with the job. `film` is what is
    known of it for finished pieces.
    """

    plan: Mapping[str, object]
    encoders: list[str]
    source_bytes: int
    source_samples: str = ""
    probe: Mapping[str, object] | None = None
    film: SharedFilm | None = None


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

    async def divide(self, order: Order, parts: Sequence[NewPart]) -> str:
        """End the attempt by dividing its job; why that was refused, or nothing where it was not. Raises StaleError."""
        request = SplitRequest(
            node=self.node,
            attempt=self.task.attempt,
            engine=self.ability.name,
            encoders=list(self.encoders),
            parts=[_request(part) for part in parts],
            plan=msgspec.to_builtins(order),
        )
        try:
            await self.client.do(work.split(self.task.task, request), patience_s=None)
        except StaleError:
            raise
        except ClientError as error:
            return str(error)
        log.info("worker.task_divided", parts=len(parts))
        return ""


def _request(part: NewPart) -> PartRequest:
    kind: Literal["chunk", "sides"] = "chunk" if part.kind is Kind.CHUNK else "sides"
    return PartRequest(kind=kind, number=part.number, frames=part.frames)


def order_for(plan: Plan, encoders: Sequence[str], source: Path, probe: Mapping[str, object] | None) -> Order:
    """What is said to those who make the parts. Blocking. Raises OSError."""
    seen = look(source)
    return Order(
        plan=to_document(plan),
        encoders=list(encoders),
        source_bytes=seen.size,
        source_samples=seen.samples,
        probe=probe,
    )


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
    seen = look(source)
    if seen.size != order.source_bytes:
        raise TaskFailedError(
            FailureClass.INPUT,
            f"cannot make this part: the input has {seen.size} bytes, and had {order.source_bytes} when the film was divided; it must not "
            "change while it is read",
        )
    if order.source_samples and seen.samples != order.source_samples:
        raise TaskFailedError(
            FailureClass.INPUT,
            "cannot make this part: the input is another one than when the film was divided; it must not change while it is read",
        )
