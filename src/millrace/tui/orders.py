"""What the interface tells a supervisor to do. Nothing here waits for an answer while a key waits: each order is a task of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from textual import work
from textual.app import App
from textual.notifications import SeverityLevel

from millrace.client import supervise
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError, RefusedError
from millrace.client.news_words import differs, reload_lines, reload_sentence
from millrace.tui.asking import Confirm
from millrace.tui.words import plain
from millrace.wire.v1.supervise import NewProcess, ProcessDefinition, ReloadView, ScaleRequest, SteerView

WAIT_S = 60
SHOWN = 10
"""Differences of a plan that fit into a question on 24 rows."""
GOES_WELL = {"applied", "pending"}


class Orders(App[None]):
    """An app that gives orders."""

    client: AsyncClient

    def look_now(self) -> None:
        """Something else is to be seen: look without delay."""
        raise NotImplementedError

    @work
    async def steer(self, name: str, verb: str, request: ScaleRequest | None = None, *, rolling: bool = False) -> None:
        """Ask for it, and tell what came of it when that is known; does not wait."""
        self.notify(f"{verb} {name} ...", timeout=2, markup=False)
        with self._telling():
            found = await self.client.do(supervise.steer(name, verb, wait_s=WAIT_S, request=request, rolling=rolling))
            failed = found.process.state == "failed"
            self.notify(_outcome(found), severity="error" if failed else "information", markup=False)

    @work
    async def signal_to(self, name: str, number: str) -> None:
        """Send a signal to the main process of each instance; does not wait."""
        with self._telling():
            found = await self.client.do(supervise.signal(name, number))
            many = "process" if found.sent == 1 else "processes"
            self.notify(f"sent {found.signal} to {found.sent} {many} of {name}", markup=False)

    @work
    async def trigger(self, name: str) -> None:
        """Ask for a run of a scheduled process now; does not wait."""
        with self._telling():
            run = (await self.client.do(supervise.trigger(name, wait_s=0))).run
            self.notify(f"run {run.number} of {name} was triggered", markup=False)

    @work
    async def turn_schedule(self, name: str) -> None:
        """Ask whether its times are to be passed over, or, where they are already, heeded again, and do it; does not wait."""
        with self._telling():
            paused = not (await self.client.do(supervise.schedule(name))).paused
            question = f"Pause {name}? Its times pass." if paused else f"Heed the times of {name} again?"
            if await self.push_screen_wait(Confirm(question, "pause" if paused else "resume", harmless=True)):
                await self.client.do(supervise.pause_schedule(name, paused=paused))
                self.notify(f"{name} is paused" if paused else f"{name} is heeded again", markup=False)

    @work
    async def remove(self, name: str) -> None:
        """Have it stopped and taken out of the plan; does not wait."""
        self.notify(f"remove {name} ...", timeout=2, markup=False)
        with self._telling():
            found = await self.client.do(supervise.remove(name, wait_s=WAIT_S))
            self.notify(
                f"{name} is gone, until it is saved" if found is None else plain(reload_sentence(found)), markup=False
            )

    @work
    async def save(self) -> None:
        """Show what was changed and is not saved, ask, and have it saved; does not wait."""
        with self._telling():
            found = await self.client.do(supervise.config())
            unsaved = [f"{one.name}: {one.change}" for one in found.changed if not one.saved]
            if not unsaved:
                self.notify("there is nothing to save")
                return
            question = _listed(f"Save in {plain(found.saved_in)}?", unsaved)
            if await self.push_screen_wait(Confirm(question, "save", harmless=True)):
                done = await self.client.do(supervise.save())
                self.notify(f"saved in {plain(done.saved_in)}", markup=False)

    @work
    async def reload(self) -> None:
        """See what another plan would change, ask, and have it read; does not wait. A plan with faults is not asked about."""
        with self._telling():
            would = await self.client.do(supervise.reload(wait_s=0, dry_run=True))
            if not differs(would):
                self.notify("the plan is as it was: nothing to reload")
            elif await self.push_screen_wait(Confirm(_question(would), "reload")):
                self._tell_of(await self.client.do(supervise.reload(wait_s=WAIT_S, dry_run=False)))

    @work
    async def shut_down(self) -> None:
        """Ask for the end of everything; does not wait."""
        with self._telling():
            await self.client.do(supervise.shutdown())
            self.notify("the supervisor stops everything")

    async def put(
        self, name: str, yaml: str | None, process: dict[str, Any] | None, *, tag: str | None, dry_run: bool
    ) -> ReloadView:
        """Add a process, or (with the `tag` of the plan) change one; or see what that would change.

        Raises:
            ClientError: it was refused, or nobody answered.
        """
        wait_s = 0 if dry_run else WAIT_S
        if tag is None:
            request = NewProcess(name=name, yaml=yaml, process=process)
            found = await self.client.do(supervise.add(request, wait_s=wait_s, dry_run=dry_run))
        else:
            call = supervise.change(
                name, ProcessDefinition(yaml=yaml, process=process), wait_s=wait_s, dry_run=dry_run, tag=tag
            )
            found = await self.client.do(call)
        if not dry_run:
            self._tell_of(found)
            self.look_now()
        return found

    def _tell_of(self, done: ReloadView) -> None:
        severity: SeverityLevel = "information" if done.outcome in GOES_WELL else "error"
        self.notify(plain(reload_sentence(done)), severity=severity, markup=False)

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell why something was refused, and look what has become of it."""
        try:
            yield
        except ClientError as error:
            self.notify(said(error), severity="error", timeout=8, markup=False)
        self.look_now()


def said(error: ClientError) -> str:
    """Why something was refused, or nobody was reached."""
    text = plain(str(error))
    head, found, reason = text.partition(": ")
    return f"cannot reach the supervisor: {reason}" if found and head.startswith("cannot reach the master") else text


def faults(error: ClientError) -> dict[str, str]:
    """What is wrong by the field that it is about; the whole refusal under an empty name where no field is named."""
    if isinstance(error, RefusedError) and error.errors:
        return {one.field: plain(one.message) for one in error.errors}
    return {"": said(error)}


def _outcome(found: SteerView) -> str:
    process = found.process
    reasons = dict.fromkeys(one.reason for one in process.instances if one.state == process.state and one.reason)
    why = f": {'; '.join(reasons)}" if reasons else ""
    rest = "" if found.settled else "; it has not come to rest yet"
    return plain(f"{process.name} is {process.state}, {process.ready} of {process.desired} ready{why}{rest}")


def _question(found: ReloadView) -> str:
    return _listed("Keep this plan from now on?", [*reload_lines(found)])


def _listed(question: str, lines: list[str]) -> str:
    rest = len(lines) - SHOWN
    more = [f"and {rest} more"] if rest > 0 else []
    return "\n".join((question, *map(plain, lines[:SHOWN]), *more))
