"""Tell the master how an attempt ended and, in the same request, claim for the slot that it leaves."""

from collections.abc import Callable, Mapping

from msgspec import Struct, field
from msgspec.structs import replace

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.calls import Call
from millrace.client.errors import RefusedError, StaleError, UnreachableError
from millrace.client.replies import STALE_ATTEMPT
from millrace.domain.failures import Failure, FailureClass
from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import CompleteRequest, Ended, FailRequest, HandBackRequest, NextClaim, TaskView

log = logger("worker")

REPORT_BACKOFF = Backoff(base_s=0.5, cap_s=10.0)

Told = CompleteRequest | FailRequest | HandBackRequest


class Report(Struct, kw_only=True):
    """The report of one attempt; it may be begun again after it was cut off.

    Attributes:
        next_claim: the claim that this worker would make now, or None; asked once, when the report first goes out.
        given: what the claim was given.
        unanswered: the claim that went out and has no answer yet, so that the master may have given tasks for it.
    """

    task: TaskView
    client: AsyncClient
    clock: Clock
    draw: Callable[[], float]
    next_claim: Callable[[], NextClaim | None]
    given: list[TaskView] = field(default_factory=list)
    unanswered: NextClaim | None = None
    begun: bool = False

    async def tell(self, ending: Told) -> None:
        """Tell the master until it answers. Cancelled from outside when the lease is lost."""
        if not self.begun:
            self.begun, self.unanswered = True, self.next_claim()
        failures = 0
        while True:
            try:
                ended = await self.client.do(_call(self.task, replace(ending, claim=self.unanswered)), patience_s=None)
            except (RefusedError, UnreachableError) as error:
                if isinstance(error, RefusedError) and error.status < 500:
                    after = self._after(ending, error)
                    if after is None:
                        return
                    ending = after
                failures += 1
                await self.clock.sleep(REPORT_BACKOFF.wait_s(failures, self.draw))
            else:
                self.given, self.unanswered = ended.tasks, None
                log.info("worker.task_ended", state=ended.state)
                return

    def _after(self, ending: Told, error: RefusedError) -> Told | None:
        """What to say after a refusal, which will not change and left everything as it was; None for nothing more."""
        claimed, self.unanswered = self.unanswered is not None, None
        if claimed and error.kind != STALE_ATTEMPT:
            return ending  # it may be the claim that was refused, and the report is worth more
        if isinstance(error, StaleError):
            log.warning("worker.report_stale", reason=str(error))
            return None
        # The attempt is ended by a report that says so, if any is taken.
        log.error("worker.report_refused", reason=str(error))
        if isinstance(ending, FailRequest):
            # A master of before knows of no facts here.
            return replace(ending, facts={}) if ending.facts else None
        failure = Failure(failure_class=FailureClass.ENGINE, message=f"cannot report the result: {error}"[:4000])
        return failed(ending.node, self.task, failure)


def _call(task: TaskView, ending: Told) -> Call[Ended]:
    if isinstance(ending, CompleteRequest):
        return work.complete(task.task, ending)
    if isinstance(ending, FailRequest):
        return work.fail(task.task, ending)
    return work.hand_back(task.task, ending)


def failed(node: str, task: TaskView, failure: Failure, facts: Mapping[str, object] | None = None) -> FailRequest:
    """The report of a failed attempt."""
    message = failure.message[:4000] or failure.failure_class.value
    return FailRequest(
        node=node, attempt=task.attempt, failure_class=failure.failure_class, message=message, facts=dict(facts or {})
    )


def handed_back(node: str, task: TaskView, reason: str, delay_s: float, *, awaits: int = 0) -> HandBackRequest:
    """The report of a task that goes back unspent, and perhaps waits for so many bytes of its upload."""
    return HandBackRequest(node=node, attempt=task.attempt, reason=reason[:1000], delay_s=delay_s, awaits=awaits)
