"""A page for people who have lost their way: what a browser gets where programs get a bare problem."""

from collections.abc import Awaitable, Callable

import millrace
from millrace.edge.call import Message, Receive, Scope, Send
from millrace.edge.refusal import PROBLEM_CONTENT_TYPE
from millrace.web.render import page

App = Callable[[Scope, Receive, Send], Awaitable[None]]

API = "/v1/"
LOST = {
    404: "There is no page at this address.",
    405: "There is no page at this address: only forms and programs send something to it.",
}
LONGEST_SHOWN = 200


def for_people(scope: Scope) -> bool:
    """Whether somebody reads the answer: a browser on its way to a page, and not to the API."""
    return (
        scope["type"] == "http"
        and scope["method"] in ("GET", "HEAD")
        and not scope["path"].startswith(API)
        and any(name == b"accept" and b"text/html" in value for name, value in scope["headers"])
    )


def with_way_back(app: App) -> App:
    """The application, with a page instead of the problem where there is nothing at the address of a page."""

    def serve(scope: Scope, receive: Receive, send: Send) -> Awaitable[None]:
        if not for_people(scope):
            return app(scope, receive, send)
        # The guide reads answers in ASGI's own two messages.
        return app({**scope, "extensions": {}}, receive, _Guide(scope, send))

    return serve


class _Guide:
    """Passes an answer on, unless it is a problem that says that there is nothing here."""

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send
        self._problem: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start" and message["status"] in LOST and _is_problem(message):
            self._problem = message
        elif self._problem is None:
            await self._send(message)
        elif not message.get("more_body"):
            await self._show(self._problem)

    async def _show(self, problem: Message) -> None:
        values = {
            "message": LOST[problem["status"]],
            "path": self._scope["path"][:LONGEST_SHOWN],
            "version": millrace.__version__,
        }
        shown = page("missing.html", values, status=problem["status"])
        own = {
            b"content-type": shown.media.encode(),
            b"content-length": b"%d" % len(shown.body),
            **{name.encode(): value.encode() for name, value in shown.headers},
        }
        kept = [(name, value) for name, value in problem["headers"] if name not in own]
        await self._send({**problem, "headers": [*kept, *own.items()]})
        body = b"" if self._scope["method"] == "HEAD" else shown.body
        await self._send({"type": "http.response.body", "body": body})


def _is_problem(message: Message) -> bool:
    return (b"content-type", PROBLEM_CONTENT_TYPE.encode()) in message["headers"]
