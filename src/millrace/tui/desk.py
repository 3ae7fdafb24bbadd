"""What every screen asks of the app, and the screen that asks it."""

from collections.abc import Collection
from typing import Any, Protocol, cast

from textual.screen import Screen

from millrace.client.async_client import AsyncClient
from millrace.tui.powers import Powers
from millrace.tui.seen import Seen
from millrace.wire.v1.supervise import ReloadView, ScaleRequest


class Desk(Protocol):
    """The app, as its screens see it. `seen` is None until the supervisor was reached."""

    client: AsyncClient
    able: Powers
    seen: Seen | None

    def steer(self, name: str, verb: str, request: ScaleRequest | None = None, *, rolling: bool = False) -> object:
        """Ask for it, and tell what came of it when that is known; does not wait."""

    def signal_to(self, name: str, number: str) -> object:
        """Send a signal to the main process of each instance; does not wait."""

    def remove(self, name: str) -> object:
        """Have it stopped and taken out of the plan; does not wait."""

    def save(self) -> object:
        """Ask whether what was changed is to be saved, and do it; does not wait."""

    async def put(
        self, name: str, yaml: str | None, process: dict[str, Any] | None, *, tag: str | None, dry_run: bool
    ) -> ReloadView:
        """Add a process, or (with the `tag` of the plan) change one; or see what that would change. Raises ClientError."""

    def reload(self) -> object:
        """Ask whether the plan is to be read again, with what that would change, and do it; does not wait."""

    def shut_down(self) -> object:
        """Ask for the end of everything; does not wait."""

    def open_detail(self, name: str) -> None:
        """Show a process."""

    def open_plan(self) -> None:
        """Show the plan in force."""

    def open_wizard(self, name: str | None = None) -> object:
        """Write a new process, or another definition of one; does not wait."""

    def open_log(self, name: str) -> None:
        """Show what a process prints."""

    def look_now(self) -> None:
        """Something else is to be seen: look without delay."""

    def trigger(self, name: str) -> object:
        """Ask for a run of a scheduled process now; does not wait."""

    def turn_schedule(self, name: str) -> object:
        """Ask whether its times are to be passed over, or heeded again, and do it; does not wait."""

    def status(self) -> None:
        """Write the line at the top of the screen that is in front."""

    async def next_look(self) -> None:
        """Return when the supervisor was looked at anew, or was looked for in vain."""

    async def soon(self) -> None:
        """Return after the time between two looks at a log."""


class DeskScreen(Screen[None]):
    """A screen of the app. Its first line, `#state`, is the app's."""

    @property
    def desk(self) -> Desk:
        """The app."""
        return cast("Desk", self.app)

    @property
    def schedules(self) -> Collection[str]:
        """The processes whose schedules are to be seen on it."""
        return ()

    @property
    def also(self) -> Collection[str]:
        """What else is to be seen on it: `hooks`, `audit`, `config`."""
        return ()

    def show(self, seen: Seen) -> None:
        """Show what was seen just now."""
