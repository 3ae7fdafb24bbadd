"""All checks of an installation, by what is there."""

from collections.abc import Callable, Mapping, Sequence

from millrace.client.client import Client
from millrace.config.settings import MasterSettings, WorkerSettings
from millrace.programs.doctor import database, machine
from millrace.programs.doctor.engine import Engine
from millrace.programs.doctor.farm import FarmLook
from millrace.programs.doctor.finding import Finding, Look, examine
from millrace.programs.doctor.master import MasterLook
from millrace.programs.doctor.places import Places


def checks(master: MasterSettings, worker: WorkerSettings, client: Client) -> Mapping[str, Look]:
    """Every check by its name, in the order of the report."""
    return {
        **machine.checks(),
        **Engine(worker).checks(),
        **Places(worker).checks(),
        **MasterLook(master).checks(),
        **database.checks(master),
        **FarmLook(client).checks(),
    }


async def diagnose(
    master: MasterSettings, worker: WorkerSettings, client: Client, tell: Callable[[Finding], None]
) -> Sequence[Finding]:
    """Look at everything that these settings name, and tell each finding as soon as it is known."""
    return await examine(checks(master, worker, client), tell)
