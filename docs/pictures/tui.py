"""Make docs/pictures/tui.svg: a still of `millrace ctl tui` with a real supervisor behind it.

Usage, from the root of the project: .venv/bin/python docs/pictures/tui.py
"""

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import httpx2

from millrace.client.async_client import AsyncClient
from millrace.client.http import Terms
from millrace.tui.app import SupervisorApp

HERE = Path(__file__).resolve().parent
COLUMNS, ROWS = 96, 22
PATIENCE_S = 60.0
PLAN = """
processes:
  db: {command: [sh, -c, "while :; do echo checkpoint; sleep 1; done"]}
  cache: {command: [sleep, "1000"]}
  web: {command: [sh, -c, "while :; do i=0; while [ $$i -lt 40000 ]; do i=$$((i+1)); done; echo GET / 200; sleep 0.4; done"], scale: 3, depends_on: [db, cache]}
  mailer: {command: [sh, -c, "exit 78"], restart: never, depends_on: [db]}
  migrate: {command: [sh, -c, "echo 3 migrations applied"], type: oneshot, depends_on: [db]}
  backup: {command: [sh, -c, "echo done"], schedule: "30 2 * * *"}
"""


def text(app: SupervisorApp) -> str:
    """What stands on the screen."""
    strips = app.screen._compositor.render_strips()  # noqa: SLF001  textual has no other way to read its screen
    return "\n".join("".join(part.text for part in strip) for strip in strips)


async def picture(socket: Path) -> str:
    """Drive it as a person would, until it has something to show."""
    transport = httpx2.AsyncHTTPTransport(uds=str(socket))
    async with AsyncClient(["http://supervisor"], Terms(patience_s=0.0), transport=transport) as client:
        app = SupervisorApp(client, "/run/millrace/supervise.sock")
        async with app.run_test(size=(COLUMNS, ROWS)) as pilot:

            async def until(seen: Callable[[], bool]) -> None:
                async with asyncio.timeout(PATIENCE_S):
                    while not seen():
                        await pilot.pause(0.2)

            await until(lambda: "3/3" in text(app) and text(app).count("%") >= 3)
            await pilot.press("G")
            await until(lambda: "web: service" in text(app))
            await pilot.press("enter")
            await until(lambda: text(app).count("█") > 60 and "in 2" in text(app))
            return app.export_screenshot(title="millrace ctl tui", simplify=True)


def main() -> None:
    """Supervise, look, and write the picture."""
    with tempfile.TemporaryDirectory() as folder:
        plan, socket = Path(folder) / "plan.yaml", Path(folder) / "s.sock"
        plan.write_text(PLAN)
        command = [
            str(Path(sys.executable).with_name("millrace")),
            "supervise",
            "-c",
            str(plan),
            "--socket",
            str(socket),
        ]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:  # noqa: S603  our own program
            while process.stderr and "supervisor.control" not in process.stderr.readline():
                pass
            try:
                drawn = asyncio.run(picture(socket))
            finally:
                process.terminate()
    (HERE / "tui.svg").write_text(drawn)


if __name__ == "__main__":
    main()
