"""How long it took until things went on, from when a fault began."""

from typing import TYPE_CHECKING

from chaos.faults import Happened

if TYPE_CHECKING:
    from chaos.run import Run

_WITHIN_S = 60.0
_HOST_GONE = frozenset({"gone", "stop", "isolate", "mute", "deaf"})
_ATTEMPTS = """
SELECT a.job, a.attempt, a.node_name, a.claimed_at, a.ended_at, n.started_at FROM attempts a
LEFT JOIN attempts n ON n.job = a.job AND n.position = a.position AND n.attempt = a.attempt + 1
WHERE a.outcome = 'lost'
"""
_WORKERS_MOVES = "SELECT at FROM transitions WHERE actor IN (SELECT id FROM nodes) ORDER BY at"


def recoveries(run: "Run") -> dict[str, list[float]]:
    """Seconds, by what they are of."""
    return {
        "worker killed and kept, until its task was taken back": _tasks(run, frozenset({"crash"}), ends=True),
        "worker killed and kept, until its task ran again": _tasks(run, frozenset({"crash"}), ends=False),
        "host lost, until its task was taken back": _tasks(run, _HOST_GONE, ends=True),
        "host lost, until its task ran again": _tasks(run, _HOST_GONE, ends=False),
        "leader gone, until another led": _leaders(run),
        "master killed, longest call meanwhile": _calls(run),
        "database back, until a worker's next change": _database(run),
    }


def _tasks(run: "Run", kinds: frozenset[str], *, ends: bool) -> list[float]:
    assert run.evidence is not None
    rows = run.evidence.read(_ATTEMPTS)
    found = []
    for one in run.happened:
        if one.kind not in kinds or not one.target.startswith("worker"):
            continue
        for _, _, name, claimed_ms, ended_ms, again_ms in rows:
            claimed_s, ended_s = claimed_ms / 1000 - run.began_s, ended_ms / 1000 - run.began_s
            if name != one.target or not claimed_s < one.at_s < ended_s < one.at_s + _WITHIN_S:
                continue
            if ends:
                found.append(ended_s - one.at_s)
            elif again_ms is not None:
                found.append(again_ms / 1000 - run.began_s - one.at_s)
    return found


def _leaders(run: "Run") -> list[float]:
    found = []
    for one in run.happened:
        if one.leads and (one.kind in ("crash", "stop") or one.kind.startswith("db-")):
            later = [at_s for at_s, _ in run.leaders.changes if one.at_s < at_s < one.at_s + _WITHIN_S]
            found += [min(later) - one.at_s] if later else []
    return found


def _calls(run: "Run") -> list[float]:
    """For each master that was killed while the database was well, the longest call that it can have disturbed."""
    if run.plan.masters < 2:
        return []
    troubled = [one for one in run.happened if one.target == "database" or one.kind.startswith("db-")]
    found = []
    for one in run.happened:
        if one.kind != "crash" or not one.target.startswith("master") or _meets(one, troubled):
            continue
        calls = [
            call.took_s for call in run.people.took if call.at_s < one.at_s + 1.0 and call.at_s + call.took_s > one.at_s
        ]
        found += [max(calls)] if calls else []
    return found


def _meets(one: Happened, others: list[Happened]) -> bool:
    return any(other.at_s < one.at_s + 3.0 and one.at_s < other.at_s + other.lasts_s + 5.0 for other in others)


def _database(run: "Run") -> list[float]:
    """Where workers had something to say: within the time that everything takes to get going again."""
    assert run.evidence is not None
    moves = [at / 1000 - run.began_s for (at,) in run.evidence.read(_WORKERS_MOVES)]
    back = [
        event.at_s for event in run.history.of("ready") if event.fields[0] == "database" and event.at_s > run.begun_s
    ]
    found = []
    for at_s in back:
        later = [move - at_s for move in moves if at_s <= move < at_s + _WITHIN_S]
        found += [later[0]] if later and at_s < run.healed_s else []
    return found
