"""Somebody who looks at the farm with a browser."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from outside import Running

if TYPE_CHECKING:
    from playwright.sync_api import ConsoleMessage, Page, Response, Route

HERE = Path(__file__).parent


@dataclass
class Visit:
    """Somebody with a browser of their own, and all that went wrong while they looked around."""

    page: "Page"
    farm: Running
    troubles: list[str] = field(default_factory=list)

    def log_in(self, path: str = "/") -> None:
        self.page.goto(f"{self.farm.url}{path}")
        self.page.get_by_label("API key").fill(self.farm.key)
        self.page.get_by_role("button", name="Log in").click()
        self.is_live()

    def at_ring(self, page: str, *scripts: Path) -> None:
        """Log in, and open a page of ours at the farm's address: so the session opens the outputs to it."""
        for path in (HERE / page, *scripts):
            self.serve(f"{self.farm.url}/ring/{path.name}", path)
        self.log_in()
        self.page.goto(f"{self.farm.url}/ring/{page}")

    def is_live(self) -> None:
        """Wait until the page follows the farm's events."""
        self.page.locator("#line[data-line=open]").wait_for()

    def hear(self) -> None:
        def console(message: "ConsoleMessage") -> None:
            if message.type == "error":
                self.troubles.append(message.text)

        def response(answer: "Response") -> None:
            if answer.status >= 400:
                self.troubles.append(f"{answer.status} {answer.url}")

        self.page.on("console", console)
        self.page.on("response", response)
        self.page.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.page.on("dialog", lambda dialog: (self.troubles.append(dialog.message), dialog.dismiss()))

    def serve(self, url: str, path: Path) -> None:
        """Let a file of ours stand at an address of the farm's, for this browser alone."""

        def answer(route: "Route") -> None:
            route.fulfill(path=path)

        self.page.route(url, answer)
