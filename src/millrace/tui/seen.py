"""One look at a supervisor, as a value."""

from collections.abc import Collection, Mapping

from msgspec import Struct, field

from millrace.client import supervise
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ConflictError, NotFoundError
from millrace.tui.powers import CHANGES, Powers, powers
from millrace.wire.v1.audit import AuditEntryView
from millrace.wire.v1.supervise import (
    ConfigView,
    HookRunView,
    InstanceUsage,
    ProcessView,
    ScheduleView,
    SupervisorHealth,
    UsageView,
)

RECORDS = 200
"""Entries of the audit trail, and runs of hooks, that are looked at."""


class Seen(Struct, frozen=True, kw_only=True):
    """Everything that was seen at once. `usage` has the newest sample of each instance, by its id; `schedules` are those of
    processes that were asked for; `hooks`, `audit` and `config` are None where they were not.
    """

    health: SupervisorHealth
    processes: Mapping[str, ProcessView]
    usage: Mapping[str, UsageView] = field(default_factory=dict)
    schedules: Mapping[str, ScheduleView] = field(default_factory=dict)
    hooks: list[HookRunView] | None = None
    audit: list[AuditEntryView] | None = None
    config: ConfigView | None = None

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
    found = powers(document, caller)
    if "config" not in found.granted:
        return found
    try:
        may_change = (await client.do(supervise.config())).may_change
    except ConflictError:  # the plan came from no file
        return found.without(CHANGES | {"config"})
    return found if may_change else found.without(CHANGES)


async def look(client: AsyncClient, able: Powers, *, wanted: Collection[str] = (), also: Collection[str] = ()) -> Seen:
    """See what there is; the schedules of the `wanted` processes, and `hooks`, `audit` and `config`, too. Raises as :func:`greet`."""
    health = await client.do(supervise.health())
    found = await client.do(supervise.processes())
    usage = {}
    if "resources" in able.granted:
        usage = latest((await client.do(supervise.resources())).instances)
    schedules = {}
    for one in found.processes:
        if one.name in wanted and one.type == "scheduled" and "schedule" in able.granted:
            schedules[one.name] = await client.do(supervise.schedule(one.name))
    asked, config = able.granted & {*also}, None
    if "config" in asked:
        config = await client.do(supervise.config())
    return Seen(
        health=health,
        processes={one.name: one for one in found.processes},
        usage=usage,
        schedules=schedules,
        hooks=(await client.do(supervise.hooks(process=None, limit=RECORDS))).hooks if "hooks" in asked else None,
        audit=(await client.do(supervise.audit(caller=None, process=None, limit=RECORDS))).entries
        if "audit" in asked
        else None,
        config=config,
    )


def latest(found: list[InstanceUsage]) -> dict[str, UsageView]:
    """The newest sample of each instance."""
    return {one.instance: one.samples[-1] for one in found if one.samples}
