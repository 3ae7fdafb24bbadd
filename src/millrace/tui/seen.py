"""One look at a supervisor, as a value."""

from collections.abc import Collection, Mapping

from msgspec import Struct, field

from millrace.client import supervise
from millrace.client.async_client import AsyncClient
from millrace.client.errors import NotFoundError
from millrace.tui.powers import Powers, powers
from millrace.wire.v1.supervise import InstanceUsage, ProcessView, ScheduleView, SupervisorHealth, UsageView


class Seen(Struct, frozen=True, kw_only=True):
    """Everything that was seen at once. `usage` has the newest sample of each instance, by its id; `schedules` are those of
    processes that were asked for.
    """

    health: SupervisorHealth
    processes: Mapping[str, ProcessView]
    usage: Mapping[str, UsageView] = field(default_factory=dict)
    schedules: Mapping[str, ScheduleView] = field(default_factory=dict)

    def usages(self, process: ProcessView) -> list[UsageView]:
        """What those instances of a process use that run."""
        return [self.usage[one.id] for one in process.instances if one.pid is not None and one.id in self.usage]


async def greet(client: AsyncClient) -> Powers:
    """What may be asked of the supervisor that is there.

    Raises:
        ClientError: nobody answered, or it was refused.
    """
    document = await client.do(supervise.description())
    try:
        caller = await client.do(supervise.caller())
    except NotFoundError:
        caller = None
    return powers(document, caller)


async def look(client: AsyncClient, able: Powers, *, wanted: Collection[str] = ()) -> Seen:
    """See what there is; the schedules of the `wanted` processes, too. Raises as :func:`greet`."""
    health = await client.do(supervise.health())
    found = await client.do(supervise.processes())
    usage = {}
    if "resources" in able.granted:
        usage = latest((await client.do(supervise.resources())).instances)
    schedules = {}
    for one in found.processes:
        if one.name in wanted and one.type == "scheduled" and "schedule" in able.granted:
            schedules[one.name] = await client.do(supervise.schedule(one.name))
    processes = {one.name: one for one in found.processes}
    return Seen(health=health, processes=processes, usage=usage, schedules=schedules)


def latest(found: list[InstanceUsage]) -> dict[str, UsageView]:
    """The newest sample of each instance."""
    return {one.instance: one.samples[-1] for one in found if one.samples}
