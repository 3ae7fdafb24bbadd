"""Claims on PostgreSQL: all that wait for the same classes, in one statement."""

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from millrace.domain.elsewhere import AVOID_S
from millrace.domain.records import Claimed
from millrace.store import rows
from millrace.store.postgres.combiner import turns
from millrace.store.postgres.connection import QUERIES, Session


class Claim(Struct, frozen=True, kw_only=True):
    """One request for work."""

    node_id: str
    epoch: int
    request_id: str
    limit: int


_TRIES = 8

_AVOIDS = QUERIES["still_avoids"].format(avoid_ms=round(AVOID_S * 1000))
CLAIM_PARTS = {
    "held": QUERIES["given_before"],
    "give": QUERIES["give"].format(avoids=_AVOIDS),
    "avoids": _AVOIDS,
    "claimed": QUERIES["claimed"],
}
"""What the statements share that give tasks."""

CLAIM = QUERIES["claim"].format(**CLAIM_PARTS, counted=QUERIES["counted"].format(changes=QUERIES["changed_by_claims"]))


def claimed(row: Sequence[Any]) -> Claimed:
    """A task from a row of the block `claimed`."""
    _, _, job, position, attempt, job_id, *rest = row
    return rows.claimed(position, attempt, (job_id, job, *rest))


async def claim_all(
    session: Session, classes: Sequence[int], claims: Sequence[Claim]
) -> Sequence[Sequence[Claimed] | None]:
    """The tasks for each claim, or None where the node may not have any; a repeated request counts once."""
    answers: list[Sequence[Claimed] | None] = [None] * len(claims)
    # What one statement gives for two requests of a node would not heed that its slots are taken by the other.
    for places in turns((claim.node_id, claim.request_id) for claim in claims):
        found = await _claim_until_given(session, classes, [claims[place] for place in places])
        for place, given in zip(places, found, strict=True):
            answers[place] = given
    return answers


class _Rivals(Struct):
    """What other masters were at while a batch of claims was served."""

    tasks: bool = False  # some are locked by them, and were passed by
    node: str = ""  # one that they serve, or have just served


async def _claim_until_given(
    session: Session, classes: Sequence[int], claims: Sequence[Claim]
) -> list[Sequence[Claimed] | None]:
    answers, rivals = await _claim(session, classes, claims)
    for _ in range(_TRIES):
        empty = [place for place, given in enumerate(answers) if given is not None and not given]
        if not (empty and (rivals.tasks or rivals.node)):
            break
        # Another master may be serving the same request at this moment, and the answer is then what it gives. Where it
        # leaves other tasks, the database makes us wait for it, because no seat is taken twice; else we do.
        if rivals.node:
            await session.run("await_claim", rivals.node)
        else:
            await session.run("await_rival", classes)
        again, rivals = await _claim(session, classes, [claims[place] for place in empty])
        for place, given in zip(empty, again, strict=True):
            answers[place] = given
    return answers


async def _claim(
    session: Session, classes: Sequence[int], claims: Sequence[Claim]
) -> tuple[list[Sequence[Claimed] | None], _Rivals]:
    """The answers; that of a node which a rival serves is empty."""
    # In the order of the requests, so that two masters that serve the same ones wait for each other in one direction only.
    unique = {(one.request_id, one.node_id, one.epoch): one for one in reversed(claims)}
    keys = sorted(unique)
    given: list[list[Claimed] | None] = [[] for _ in keys]
    rivals = _Rivals()
    for row in await session.alone(
        CLAIM, classes, [key[1] for key in keys], [key[2] for key in keys], [key[0] for key in keys],
        [unique[key].limit for key in keys],
    ):  # fmt: skip
        if row[0] == 0:
            rivals.tasks = True
            continue
        place = row[0] - 1
        tasks = given[place]
        if row[1] is None and row[2] is not None:
            rivals.node = keys[place][1]
        elif row[1] is None or tasks is None:
            given[place] = None
        else:
            tasks.append(claimed(row))
            session.changed = True
    found = dict(zip(keys, given, strict=True))
    return [found[one.request_id, one.node_id, one.epoch] for one in claims], rivals
