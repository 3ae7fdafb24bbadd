"""A supervisor with its control API: real processes, a real unix socket, and a client."""

import asyncio
import os
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from millrace.programs.control_doors import ControlDoors
from millrace.programs.control_settings import ControlSettings
from millrace.programs.plan_apart import PlanApart
from millrace.runtime.clock import SystemClock
from millrace.supervisor.change.reloader import Reloader
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.keeper import Keeper, News
from millrace.supervisor.logs.book import Logs
from millrace.supervisor.logs.writer import Descriptor
from millrace.supervisor.plan import Plan
from millrace.supervisor.plans.file import PlanFile
from millrace.supervisor.state import Reloaded

PATIENCE_S = 30.0
KEY = "key-of-the-test"
PLAN = """
processes:
  db:
    command: [sh, -c, "echo db $$$$ hidden-word >/dev/null; touch up; echo db up; exec sleep 1000"]
    env: {PASSWORD: hunter2}
    health_check: {type: exec, command: [test, -e, up], period: 0.02}
  web: {command: [sh, -c, "echo $$MILLRACE_INSTANCE says hello; exec sleep 1000"], depends_on: [db], scale: 2}
  bad: {command: [sh, -c, "exit 3"], restart: never}
  spare: {command: [sleep, "1000"], initial_state: stopped, max_scale: 3}
  once: {command: [sleep, "1000"], type: oneshot, initial_state: stopped}
"""


class Rig:
    """A supervisor with its API, and a client."""

    def __init__(
        self, supervisor: Supervisor, keeper: Keeper, client: httpx2.AsyncClient, running: Any, plan: Path
    ) -> None:
        self.supervisor = supervisor
        self.keeper = keeper
        self.client = client
        self.running = running
        self.plan = plan
        """The file; what is written there counts from the next reload on."""

    async def get(self, path: str, *, status: int = 200, **more: Any) -> Any:
        response = await self.client.get(path, **more)
        assert response.status_code == status, response.text
        return response.json()

    async def post(self, path: str, body: object = None, *, status: int = 200) -> Any:
        response = await self.client.post(path, json=body) if body is not None else await self.client.post(path)
        assert response.status_code == status, response.text
        return response.json()

    async def until(self, path: str, seen: Callable[[Any], bool]) -> Any:
        """Wait for changes until the answer is so."""
        async with asyncio.timeout(PATIENCE_S):
            while not seen(found := await self.get(path)):
                await self.supervisor.news.until(lambda: False, 0.05)
        return found


@asynccontextmanager
async def supervising(folder: Path, text: str = PLAN, environ: dict[str, str] | None = None) -> AsyncIterator[Rig]:
    supervisor = Supervisor(SystemClock())
    source = PlanApart(folder / "plan.yaml", environ or {}, SystemClock())
    source.path.write_text(text)
    layers = PlanFile(source.path, environ or {}).load()
    plan = layers.plan
    nowhere = Descriptor(-1)
    logs = Logs(plan, clock=SystemClock(), targets={"stdout": nowhere, "stderr": nowhere}, heard=supervisor.printed)
    place = folder / "s.sock"
    doors = ControlDoors(supervisor, ControlSettings(socket=place), {})

    def adopted(now: Plan) -> None:
        logs.adopt(now)
        supervisor.adopted(now)

    def told(news: News) -> None:
        if isinstance(news, Reloaded):
            reloader.told(news.reload)
        supervisor.told(news)

    keeper = Keeper(
        plan, clock=SystemClock(), chance=random.Random(1), environ=dict(os.environ), cwd=folder,
        output=logs.output, opening=logs.opening, closing=logs.closing, changed=supervisor.heard,
        happened=supervisor.ledger.note, adopted=adopted, told=told,
    )  # fmt: skip
    reloader = Reloader(source, layers, keeper, SystemClock())
    supervisor.attach(keeper, reloader)
    running = asyncio.create_task(keeper.run())
    try:
        async with (
            doors,
            httpx2.AsyncClient(
                transport=httpx2.AsyncHTTPTransport(uds=str(place)), base_url="http://supervisor", timeout=PATIENCE_S
            ) as client,
        ):
            yield Rig(supervisor, keeper, client, running, source.path)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        doors.close()
        await supervisor.resources.close()
        await logs.close()
    assert not place.exists()


def play(
    folder: Path, body: Callable[[Rig], Awaitable[None]], text: str = PLAN, environ: dict[str, str] | None = None
) -> None:
    async def whole() -> None:
        async with supervising(folder, text, environ) as rig:
            await body(rig)

    asyncio.run(whole())
