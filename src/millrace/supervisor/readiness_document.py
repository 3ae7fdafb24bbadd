"""The readiness file, from its part of a plan."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from millrace.supervisor.plans.reader import Reader
from millrace.supervisor.readiness import Bar, Readiness

if TYPE_CHECKING:
    from millrace.supervisor.plan import ProcessPlan

USUAL_PATH = "/run/millrace/ready"


def readiness_of(settings: Reader) -> Readiness | None:
    """What stands under `global.readiness`; `processes` is empty where the plan names none. None where there is no such file."""
    given = settings.has("readiness")
    inner = settings.inner("readiness")
    found = Readiness(
        path=Path(inner.text("path", USUAL_PATH, 4096)),
        processes=inner.words("processes"),
        content=inner.text("content", "ready\n", 65_536),
        bar=Bar(inner.word("mode", Bar, Bar.HEALTHY)),
    )
    enabled = inner.flag("enabled", True)
    if given and enabled and not found.path.is_absolute():
        inner.report("path", f"is {found.path}; give the full path, such as {USUAL_PATH}")
    inner.done()
    return found if given and enabled else None


def settled(
    readiness: Readiness | None, processes: Mapping[str, "ProcessPlan"], findings: list[tuple[str, str]]
) -> Readiness | None:
    """With the processes that it tracks: those that it names, else every service that starts by itself."""
    if readiness is None:
        return None
    path = "global.readiness.processes"
    for name in readiness.processes:
        if name not in processes:
            findings.append((path, f"names {name}, and no enabled process is called that"))
        elif processes[name].schedule is not None:
            findings.append((path, f"names {name}, which is scheduled, and so is never ready; take it out"))
    tracked = readiness.processes or tuple(
        name for name, process in processes.items() if process.is_service and process.autostart
    )
    if not tracked and processes:
        findings.append((path, "is empty, and no service starts by itself; name what shall be ready"))
    return Readiness(path=readiness.path, processes=tracked, content=readiness.content, bar=readiness.bar)
