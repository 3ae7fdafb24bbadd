"""Claims of nodes with hardware encoders on PostgreSQL: one by one, so that sessions are counted as they are."""

from collections.abc import Sequence

from msgspec.structs import replace

from millrace.domain.records import Claimed
from millrace.domain.sessions import Allowance
from millrace.domain.states import HELD
from millrace.store import rows
from millrace.store.postgres.claims import Claim, claim_all
from millrace.store.postgres.connection import Session
from millrace.store.postgres.moves import MoveAndClaim, move_and_claim_all

_NONE = ("", 0)


async def claim(
    session: Session, classes: Sequence[int], asked: Claim, allowance: Allowance
) -> Sequence[Claimed] | None:
    """As :func:`claim_all` for one claim, within a transaction; one task at the most."""
    fitting = await _fitting(session, classes, asked, allowance, _NONE)
    return (await claim_all(session, fitting, [replace(asked, limit=min(1, asked.limit))]))[0]


async def move_and_claim(
    session: Session, classes: Sequence[int], report: MoveAndClaim, allowance: Allowance
) -> Sequence[Claimed] | None:
    """As :func:`move_and_claim_all` for one report, within a transaction; one task at the most."""
    move = report.move
    leaves = rows.position_of(move.task_id) if move.release or move.target not in HELD else None
    fitting = await _fitting(session, classes, report.claim, allowance, leaves or _NONE)
    one = replace(report, claim=replace(report.claim, limit=min(1, report.claim.limit)))
    return (await move_and_claim_all(session, fitting, [one]))[0]


async def _fitting(
    session: Session, classes: Sequence[int], asked: Claim, allowance: Allowance, leaves: tuple[str, int]
) -> list[int]:
    # The node first: a rival who waits for it holds nothing, and what it holds is read when nobody else gives it anything.
    await session.run("hold_node", asked.node_id)
    held = await session.all("held_classes", asked.node_id, asked.epoch, *leaves)
    return allowance.fitting(classes, [class_id for (class_id,) in held])
