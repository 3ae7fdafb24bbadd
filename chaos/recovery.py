"""How long it took until things went on, from when a fault began."""

from typing import TYPE_CHECKING

from chaos.faults import Happened

if TYPE_CHECKING:
    from chaos.run import Run

_WITHIN_S = 60.0
_TERM_S = 6.0
"""What another master needs, at the most, to lead: a term, and to ask for it."""
_CALL_S = 3.0
_AFTERMATH_S = 3.0
"""How long after its end a fault may still be felt."""
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
        "master killed, until a call to it was answered by another": _calls(run),
        "database back, until the farm goes on": _database(run),
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
    """Where there was another master all the while that could lead."""
    found = []
    for one in run.happened:
        gone = one.kind in ("crash", "stop") or one.kind.startswith("db-")
        if one.leads and gone and _others_well(run, one, _TERM_S):
            later = [at_s for at_s, _ in run.leaders.changes if one.at_s < at_s < one.at_s + _WITHIN_S]
            found += [min(later) - one.at_s] if later else []
    return found


def _calls(run: "Run") -> list[float]:
    """For each master that was killed while another one was well, how long at the most a call took from then on that had asked it."""
    found = []
    for one in run.happened:
        if one.kind != "crash" or not one.target.startswith("master") or not _others_well(run, one, _CALL_S):
            continue
        asked = run.farm.people_host.url(one.target)
        calls = [
            call.at_s + call.took_s - max(call.at_s, one.at_s)
            for call in run.people.took
            if call.asked == asked and call.at_s < one.at_s + 1.0 and call.at_s + call.took_s > one.at_s
        ]
        found += [max(calls)] if calls else []
    return found


def _others_well(run: "Run", one: Happened, for_s: float) -> bool:
    """Whether the database and some other master were well from a fault on, for so long."""
    from_s, to_s = one.at_s, one.at_s + for_s
    harmed = {one.target} | {
        other.target
        for other in run.happened
        if other.at_s < to_s and from_s < other.at_s + other.lasts_s + _AFTERMATH_S
    }
    return "database" not in harmed and any(
        begin_s <= from_s and to_s <= end_s
        for master in run.farm.masters
        if master.name not in harmed
        for begin_s, end_s in _lives(run, master.name)
    )


def _lives(run: "Run", name: str) -> list[tuple[float, float]]:
    """From when to when a program was ready, each time."""
    found: list[tuple[float, float]] = []
    for event in run.history.of("ready", "ended"):
        if event.fields[0] == name and event.kind == "ready":
            found.append((event.at_s, float("inf")))
        elif event.fields[0] == name and found:
            found[-1] = found[-1][0], min(found[-1][1], event.at_s)
    return found


def _database(run: "Run") -> list[float]:
    """Until a worker changed anything, or somebody was answered."""
    assert run.evidence is not None
    done = [at / 1000 - run.began_s for (at,) in run.evidence.read(_WORKERS_MOVES)]
    done += [call.at_s + call.took_s for call in run.people.took]
    back = [event.at_s for event in run.history.of("ready") if event.fields[0] == "database"]
    found = []
    for at_s in back:
        later = [one_s for one_s in done if at_s <= one_s < at_s + _WITHIN_S]
        found += [min(later) - at_s] if later and run.begun_s < at_s < run.healed_s else []
    return found
