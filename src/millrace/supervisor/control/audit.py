"""Read the audit trail."""

from millrace.edge.audit import AuditEntry
from millrace.edge.call import Call
from millrace.supervisor.audit_trail import KEPT
from millrace.supervisor.control.supervisor import Supervisor
from millrace.supervisor.control.usage import moment
from millrace.wire.v1.audit import AuditEntryView
from millrace.wire.v1.supervise import AuditList

LIMIT = 100


async def show(supervisor: Supervisor, call: Call[None]) -> AuditList:
    """The last changes, and who was turned away; of one caller, of one process, or after a time."""
    call.only("caller", "process", "since", "limit")
    caller, process, since = call.one("caller"), call.one("process"), moment(call)
    place = f"/v1/processes/{process}"

    def wanted(entry: AuditEntry) -> bool:
        return (
            (caller is None or entry.caller == caller)
            and (process is None or entry.path == place or entry.path.startswith(f"{place}/") or _adds(entry, process))
            and (since is None or entry.at > since)
        )

    found = supervisor.trail.last(wanted, limit=call.integer("limit", least=1, most=KEPT) or LIMIT)
    return AuditList(entries=[AuditEntryView(**{name: getattr(one, name) for name in _FIELDS}) for one in found])


def _adds(entry: AuditEntry, process: str) -> bool:
    return isinstance(entry.request, dict) and entry.request.get("name") == process


_FIELDS = AuditEntryView.__struct_fields__
