"""Claims on PostgreSQL: all that wait for the same classes, in one statement."""

from collections.abc import Sequence

from msgspec import Struct

from millrace.domain.records import Claimed
from millrace.store import rows
from millrace.store.postgres.connection import Session


class Claim(Struct, frozen=True, kw_only=True):
    """One request for work."""

    node_id: str
    epoch: int
    request_id: str
    limit: int


async def claim_all(
    session: Session, classes: Sequence[int], claims: Sequence[Claim]
) -> Sequence[Sequence[Claimed] | None]:
    """The tasks for each claim, or None where the node may not have any; a repeated request counts once."""
    unique = list({(claim.node_id, claim.request_id, claim.epoch): claim for claim in reversed(claims)}.values())[::-1]
    await session.run("lock_nodes", [claim.node_id for claim in unique])
    standing = await session.all(
        "claim_standing", list(range(len(unique))), [claim.node_id for claim in unique],
        [claim.epoch for claim in unique], [claim.request_id for claim in unique],
    )  # fmt: skip
    given: dict[int, list[Claimed]] = {row[0]: [] for row in standing}
    repeated = [(ord_, job, position, attempt) for ord_, _, job, position, attempt in standing if job is not None]
    await _add_repeated(session, repeated, given)
    served = {ord_ for ord_, *_ in repeated}
    places = [
        (ord_, unique[ord_].node_id, unique[ord_].epoch, name, unique[ord_].request_id)
        for ord_, name, job, *_ in standing
        if ord_ not in served
        for _ in range(unique[ord_].limit)
    ]
    if places and classes:
        columns = [list(column) for column in zip(*places, strict=True)]
        for ord_, position, attempt, *job in await session.all(
            "claim", sorted(set(classes)), len(places), *columns, session.now_ms
        ):
            given[ord_].append(rows.claimed(position, attempt, job))
            session.changed = True
    answers = {(claim.node_id, claim.request_id, claim.epoch): given.get(n) for n, claim in enumerate(unique)}
    return [answers[(claim.node_id, claim.request_id, claim.epoch)] for claim in claims]


async def _add_repeated(
    session: Session, repeated: Sequence[tuple[int, int, int, int]], given: dict[int, list[Claimed]]
) -> None:
    if not repeated:
        return
    found = {row[0]: row[1:] for row in await session.all("claimed", [job for _, job, _, _ in repeated])}
    for ord_, job, position, attempt in repeated:
        given[ord_].append(rows.claimed(position, attempt, tuple(found[job])))
