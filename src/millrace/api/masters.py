"""Masters, as people see them."""

from millrace.api.master import Master
from millrace.edge.call import Call
from millrace.edge.refusal import RefusalError
from millrace.wire.v1.masters import MasterList, MasterView


async def show_all(master: Master, call: Call[None]) -> MasterList:
    """Every master, as this one heard from the database within a term."""
    call.only()
    leadership = master.leadership
    attendance = leadership.present if leadership is not None else None
    if leadership is None or attendance is None:
        raise RefusalError(503, "unavailable", "cannot answer now: this master has not heard from the database lately")
    return MasterList(
        masters=[
            MasterView(
                id=one.id,
                name=one.name,
                version=one.version,
                leads=one.id == attendance.leader,
                started=one.started_at,
                seen=one.seen_at,
            )
            for one in attendance.masters
        ],
        epoch=attendance.epoch,
        here=leadership.id,
    )
