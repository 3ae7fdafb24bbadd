"""Claims on PostgreSQL: all that wait for the same classes, in one statement."""

from collections.abc import Sequence

from msgspec import Struct

from millrace.domain.records import Claimed
from millrace.store import rows
from millrace.store.postgres.connection import QUERIES, Session


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
    # In the order of the requests, so that two masters that serve the same ones wait for each other in one direction only.
    unique = {(one.request_id, one.node_id, one.epoch): one for one in reversed(claims)}
    keys = sorted(unique)
    seats = [(ord_, seat) for ord_, key in enumerate(keys, 1) for seat in range(1, unique[key].limit + 1)]
    given: list[list[Claimed] | None] = [[] for _ in keys]
    for ord_, rank, job, position, attempt, job_id, profile, spec, timeout_s in await session.alone(
        QUERIES["claim"], classes, [key[1] for key in keys], [key[2] for key in keys], [key[0] for key in keys],
        [ord_ for ord_, _ in seats], [seat for _, seat in seats],
    ):  # fmt: skip
        tasks = given[ord_ - 1]
        if rank is None or tasks is None:
            given[ord_ - 1] = None
        else:
            tasks.append(rows.claimed(position, attempt, (job_id, job, profile, spec, timeout_s)))
            session.changed = True
    answers = dict(zip(keys, given, strict=True))
    return [answers[one.request_id, one.node_id, one.epoch] for one in claims]
