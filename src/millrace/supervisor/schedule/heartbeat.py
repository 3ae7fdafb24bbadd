"""Tell a monitor of a run: healthchecks.io, Uptime Kuma, or whoever else takes a request as a sign of life."""

import asyncio
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from enum import StrEnum
from typing import TYPE_CHECKING

import millrace
from millrace.runtime.clock import Clock
from millrace.supervisor.schedule.jobs import Outcome, Run
from millrace.supervisor.schedule.values import Heartbeat
from millrace.telemetry.logs import logger

if TYPE_CHECKING:
    import httpx2

log = logger("supervisor")
_HEADERS = {"user-agent": f"millrace/{millrace.__version__}", "content-type": "text/plain"}


MAX_WAITING = 20
"""How many signs of one process wait for a monitor that does not answer; older ones are dropped for newer."""


class Sign(StrEnum):
    """What is told."""

    START = "start"
    SUCCESS = "success"
    FAILURE = "failure"


def sign_of(run: Run) -> Sign:
    """What a run is a sign of."""
    if run.ended is None:
        return Sign.START
    return Sign.SUCCESS if run.outcome is Outcome.SUCCEEDED else Sign.FAILURE


class Heartbeats:
    """Signs on their way: those of one process one after the other, as a monitor has to hear of the start before the end."""

    def __init__(self, clock: Clock, told: Callable[[str, Sign, float, str], None] = lambda *_: None) -> None:
        """`clock` measures timeouts and delays. `told` hears of each sign: whose, which, how many seconds it took with all
        its attempts, and why it was lost (empty where it was not).
        """
        self._clock = clock
        self._told = told
        self._waiting: dict[str, deque[tuple[Heartbeat, Run]]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def send(self, heartbeat: Heartbeat, process: str, run: Run) -> None:
        """Tell of a run, in a while; nothing waits for it."""
        if url_of(heartbeat, sign_of(run)):
            self._waiting.setdefault(process, deque(maxlen=MAX_WAITING)).append((heartbeat, run))
            if process not in self._tasks:
                self._tasks[process] = asyncio.create_task(self._work(process), name=f"heartbeat {process}")

    async def close(self, patience_s: float) -> None:
        """Let what is on its way arrive, for a while."""
        if self._tasks:
            arrived = asyncio.gather(*self._tasks.values(), return_exceptions=True)
            with suppress(TimeoutError):
                await self._clock.wait_for(arrived, patience_s)

    async def _work(self, process: str) -> None:
        try:
            while self._waiting[process]:
                heartbeat, run = self._waiting[process].popleft()
                sign, began_s = sign_of(run), self._clock.monotonic()
                why = await tell(heartbeat, sign, process, run, self._clock)
                self._told(process, sign, self._clock.monotonic() - began_s, why)
        finally:
            del self._tasks[process]


def url_of(heartbeat: Heartbeat, sign: Sign) -> str:
    """Who hears of it; empty where nobody does."""
    return {Sign.START: heartbeat.start_url, Sign.SUCCESS: heartbeat.success_url, Sign.FAILURE: heartbeat.failure_url}[
        sign
    ]


def body_of(sign: Sign, run: Run) -> str:
    """What is told with it: `exit_code=3` and how it ended, where it has."""
    if sign is Sign.START:
        return ""
    code = "" if run.code is None else f"exit_code={run.code}\n"
    return f"{code}{run.outcome}: {run.how}\n"


async def tell(heartbeat: Heartbeat, sign: Sign, process: str, run: Run, clock: Clock) -> str:
    """Ask its URL until it answers 2xx, `1 + retries` times at most. Why it did not, empty where it did; never raises for that."""
    import httpx2  # noqa: PLC0415  75 ms, which only who has a heartbeat shall wait for

    url, why = url_of(heartbeat, sign), ""
    async with httpx2.AsyncClient(timeout=heartbeat.timeout_s, follow_redirects=False, headers=_HEADERS) as client:
        for attempt in range(heartbeat.retries + 1):
            if attempt:
                await clock.sleep(heartbeat.retry_delay_s)
            why = await _attempt(client, heartbeat, url, body_of(sign, run), clock)
            if not why:
                return ""
    # Such a URL is a secret; only its host is told.
    log.warning("supervisor.heartbeat_lost", process=process, sign=sign.value, host=httpx2.URL(url).host, why=why)
    return why


async def _attempt(client: "httpx2.AsyncClient", heartbeat: Heartbeat, url: str, body: str, clock: Clock) -> str:
    """One attempt: why it failed, empty where it did not."""
    import httpx2  # noqa: PLC0415  see `tell`

    content = body if heartbeat.method == "POST" else None
    try:
        answer = await clock.wait_for(client.request(heartbeat.method, url, content=content), heartbeat.timeout_s)
    except TimeoutError:
        return f"no answer within {heartbeat.timeout_s:g} s"
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError) as error:
        return str(error) or type(error).__name__
    return "" if answer.is_success else f"answered {answer.status_code}"
