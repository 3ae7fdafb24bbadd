"""Run one claimed task and tell the master how it ended, whatever happens."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from millrace.client import work
from millrace.client.errors import ClientError, StaleError
from millrace.domain.failures import Failure, FailureClass
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import context, logger
from millrace.wire.v1.work import CompleteRequest, NextClaim, TaskReport, TaskView
from millrace.worker.attempt import Attempt
from millrace.worker.attempt_log import AttemptLog
from millrace.worker.board import Board
from millrace.worker.control import Control, Ending
from millrace.worker.failure import HandBackError, NotArrivedError, TaskFailedError, from_client_error, from_os_error
from millrace.worker.means import Means
from millrace.worker.report import Report, Told, failed, handed_back
from millrace.worker.scratch import Scratch

log = logger("worker")

HURRY_PATIENCE_S = 5.0
"""How long a worker that must end at once tries to hand its tasks back."""
HURRIED = "the worker ends and did not wait for the task"


class Ran(Struct, frozen=True, kw_only=True):
    """What a task left behind for the worker.

    Attributes:
        handed: why it was handed back, if it was: the worker may want to claim less.
        given: the tasks that the report's claim was given.
        unanswered: the report's claim, where nobody knows what it was given.
    """

    handed: HandBackError | None
    given: Sequence[TaskView]
    unanswered: NextClaim | None


class Runner(Struct, frozen=True, kw_only=True):
    """Runs tasks for one node.

    Attributes:
        means: what attempts work with.
        board: where the heartbeat looks.
        scratch: where attempts work.
        clock, draw: for limits and back-off.
        next_claim: the claim for a slot that becomes free now; None where the worker would not claim.
        default_timeout_s: the time limit of jobs that name none; None for no limit.
    """

    means: Means
    board: Board
    scratch: Scratch
    clock: Clock
    draw: Callable[[], float]
    next_claim: Callable[[], NextClaim | None]
    default_timeout_s: float | None = None

    async def run(self, task: TaskView, node: str, control: Control) -> Ran:
        """Run it to its end and report.

        Returns normally also when the attempt was ended from outside: `control.ending` says why. What a lost lease
        ended stays on the board: the caller takes it off.
        """
        report = Report(
            task=task, client=self.means.client, clock=self.clock, draw=self.draw, next_claim=self.next_claim
        )
        self.board.put(TaskReport(task=task.task, attempt=task.attempt))
        try:
            with context(task=task.task, attempt=task.attempt):
                handed = await self._run(task, node, control, report)
        finally:
            if control.ending is not Ending.LEASE_LOST:
                self.board.drop(task.task, task.attempt)
        return Ran(handed=handed, given=report.given, unanswered=report.unanswered)

    async def _run(self, task: TaskView, node: str, control: Control, report: Report) -> HandBackError | None:
        log.info("worker.task_started", profile=task.profile)
        try:
            async with self.scratch.attempt(task.task, task.attempt) as folder:
                attempt_log = AttemptLog(folder / "attempt.log", clock=self.clock)
                try:
                    return await self._logged(report, node, control, attempt_log, folder)
                finally:
                    attempt_log.close()
        except OSError as error:
            failure = from_os_error(error, f"work in {self.scratch.path}").failure
            await report.tell(failed(node, task, failure))
        return None

    async def _logged(
        self, report: Report, node: str, control: Control, attempt_log: AttemptLog, folder: Path
    ) -> HandBackError | None:
        task = report.task

        async def send(offset: int, data: bytes) -> int:
            call = work.append_log(task.task, node=node, attempt=task.attempt, offset=offset, data=data)
            return (await self.means.client.do(call, patience_s=None)).length

        shipping = asyncio.create_task(attempt_log.ship(send), name=f"log {task.task}")
        try:
            ended, handed = await self._ended(task, node, control, attempt_log, folder)
            if not self.means.holds() and control.ending is not Ending.HURRY:
                # What failed may have failed because the guard of the lease killed the engine.
                control.end(Ending.LEASE_LOST)
            if ended is not None:
                await self._finish(control, attempt_log, report, ended)
            elif control.ending is None:
                # It has ended by the division of its job; what it said is still owed.
                await self._last_words(attempt_log)
            return handed
        finally:
            shipping.cancel()
            await asyncio.wait((shipping,))

    async def _last_words(self, attempt_log: AttemptLog) -> None:
        try:
            await self.clock.wait_for(attempt_log.flush(), HURRY_PATIENCE_S)
        except TimeoutError:
            log.warning("worker.log_not_sent", reason="no master answered in time")

    async def _finish(self, control: Control, attempt_log: AttemptLog, report: Report, ended: Told) -> None:
        """Everything that the attempt said, then how it ended. A lost lease ends this too."""
        if control.ending is None:
            closing = asyncio.ensure_future(_flush_and_report(attempt_log, report, ended))
            control.runs_in(closing)
            await asyncio.wait((closing,))
            if not closing.cancelled():
                closing.result()
                return
        # Told to end at once, with the work done or not: the report is still owed, but not waited for without end.
        if control.ending is Ending.HURRY:
            try:
                await self.clock.wait_for(_flush_and_report(attempt_log, report, ended), HURRY_PATIENCE_S)
            except TimeoutError:
                log.warning("worker.not_reported", reason="no master answered in time")

    async def _ended(
        self, task: TaskView, node: str, control: Control, attempt_log: AttemptLog, folder: Path
    ) -> tuple[Told | None, HandBackError | None]:
        """How the attempt ended, as a report; None where nothing may be reported any more, or everything is said."""

        def report(fields: Mapping[str, object]) -> None:
            self.board.change(task.task, task.attempt, **fields)

        attempt = Attempt(
            task=task, node=node, means=self.means, control=control, log=attempt_log, report=report, folder=folder
        )
        try:
            return await self._within_limit(task, control, attempt.run()), None
        except HandBackError as error:
            attempt_log.say(f"handed back: {error.reason}")
            return handed_back(node, task, error.reason, error.delay_s), error
        except NotArrivedError as error:
            attempt_log.say(f"handed back: {error}")
            return handed_back(node, task, str(error), 0.0, awaits=error.needed), None
        except StaleError as error:
            log.warning("worker.attempt_stale", reason=str(error))
            control.end(Ending.STALE)
            return None, None
        except asyncio.CancelledError:
            if control.ending is None:
                raise
            log.info("worker.attempt_ended", why=control.ending.value)
            hurried = control.ending is Ending.HURRY
            return (handed_back(node, task, HURRIED, 0.0) if hurried else None), None
        except Exception as error:  # noqa: BLE001  a fault of ours must end the attempt, not the worker
            failure = _explained(error)
            known = error.facts if isinstance(error, TaskFailedError) else {}
        attempt_log.say(f"failed ({failure.failure_class}): {failure.message}")
        return failed(node, task, failure, known), None

    async def _within_limit(
        self, task: TaskView, control: Control, running: Awaitable[CompleteRequest | None]
    ) -> CompleteRequest | None:
        """The result, or a failure of class `timeout` once the stopwatch passes the job's limit."""
        limit_s = task.timeout_s if task.timeout_s is not None else self.default_timeout_s
        body = asyncio.ensure_future(running)
        control.runs_in(body)
        limit = asyncio.ensure_future(control.until_elapsed(limit_s)) if limit_s is not None else None
        try:
            await asyncio.wait((body, *((limit,) if limit else ())), return_when=asyncio.FIRST_COMPLETED)
            if not body.done():
                body.cancel()
                await asyncio.wait((body,))
                raise TaskFailedError(
                    FailureClass.TIMEOUT,
                    f"cannot finish within {limit_s:g} s: the job's time limit passed; raise timeout_s or use a faster preset",
                )
            return body.result()
        finally:
            for pending in (body, limit):
                if pending is not None and not pending.done():
                    pending.cancel()
                    await asyncio.wait((pending,))


async def _flush_and_report(attempt_log: AttemptLog, report: Report, ended: Told) -> None:
    await attempt_log.flush()
    await report.tell(ended)


def _explained(error: Exception) -> Failure:
    """What the user is told of an error that ended the attempt."""
    if isinstance(error, TaskFailedError):
        return error.failure
    if isinstance(error, ClientError):
        return from_client_error(error, "run the task").failure
    if isinstance(error, OSError):
        return from_os_error(error, "run the task").failure
    log.error("worker.attempt_broke", exc=error)
    return Failure(
        failure_class=FailureClass.ENGINE,
        message=f"cannot run the task: the worker itself is at fault ({type(error).__name__}: {error})",
    )
