"""What every screen asks of the app, and the screen that asks it."""

from typing import Protocol, cast

from textual.screen import Screen

from millrace.client.async_client import AsyncClient
from millrace.tui.powers import Powers
from millrace.tui.seen import Seen
from millrace.wire.v1.supervise import ScaleRequest


class Desk(Protocol):
    """The app, as its screens see it. `seen` is None until the supervisor was reached."""

    client: AsyncClient
    able: Powers
    seen: Seen | None

    def steer(self, name: str, verb: str, request: ScaleRequest | None = None) -> None:
        """Ask for it, and tell what came of it when that is known; does not wait."""

    def shut_down(self) -> None:
        """Ask for the end of everything; does not wait."""

    def open_detail(self, name: str) -> None:
        """Show a process."""

    def open_log(self, name: str) -> None:
        """Show what a process prints."""

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

    def show(self, seen: Seen) -> None:
        """Show what was seen just now."""
