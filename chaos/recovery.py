"""How long it took until things went on, from when a fault began."""

from collections.abc import Sequence
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
_KEPT = frozenset({"crash"})
_HOST_GONE = frozenset({"gone", "stop", "isolate", "mute", "deaf"})
_ATTEMPTS = """
SELECT a.job, a.attempt, a.node_name, a.claimed_at, a.ended_at, n.started_at FROM attempts a
LEFT JOIN attempts n ON n.job = a.job AND n.position = a.position AND n.attempt = a.attempt + 1
WHERE a.outcome = 'lost'
"""
_WORKERS_MOVES = "SELECT at FROM transitions WHERE actor IN (SELECT id FROM nodes) ORDER BY at"


def recoveries(run: "Run") -> dict[str, list[float]]:
    """Seconds, by what they are of. Of tasks, apart: while nothing else was broken that they need, and among other faults."""
    kept, gone = _Tasks(run, _KEPT), _Tasks(run, _HOST_GONE)
    return {
        "worker killed and kept, until its task was taken back": kept.taken_back,
        "worker killed and kept, until its task ran again": kept.again,
        "host lost, until its task was taken back": gone.taken_back,
        "host lost, until its task ran again": gone.again,
        "leader gone, until another led": _leaders(run),
        "master killed, until a call to it was answered by another": _calls(run),
        "database back, until the farm goes on": _database(run),
        "among other faults: worker killed and kept, until its task ran again": kept.again_among_others,
        "among other faults: host lost, until its task ran again": gone.again_among_others,
    }


class _Tasks:
    """What became of the tasks of workers that such faults fell on."""

    def __init__(self, run: "Run", kinds: frozenset[str]) -> None:
        assert run.evidence is not None
        self.taken_back: list[float] = []
        self.again: list[float] = []
        self.again_among_others: list[float] = []
        rows = run.evidence.read(_ATTEMPTS)
        for one in run.happened:
            if one.kind not in kinds or not one.target.startswith("worker"):
                continue
            for _, _, name, claimed_ms, ended_ms, again_ms in rows:
                claimed_s, ended_s = claimed_ms / 1000 - run.began_s, ended_ms / 1000 - run.began_s
                if name == one.target and claimed_s < one.at_s < ended_s < one.at_s + _WITHIN_S:
                    again_s = ended_s if again_ms is None else again_ms / 1000 - run.began_s
                    undisturbed = alone(run.happened, one, again_s)
                    if undisturbed:
                        self.taken_back.append(ended_s - one.at_s)
                    if again_ms is not None:
                        (self.again if undisturbed else self.again_among_others).append(again_s - one.at_s)


def alone(happened: Sequence[Happened], one: Happened, to_s: float) -> bool:
    """Whether nothing else was broken, from a fault of a worker until then, that its tasks need."""
    return not any(
        other.at_s < to_s and one.at_s < other.at_s + other.lasts_s + (_TERM_S if other.leads else _AFTERMATH_S)
        for other in happened
        if other is not one and (other.target in (one.target, "database") or _fells_a_master(other))
    )


def _fells_a_master(one: Happened) -> bool:
    return one.target.startswith("master") and (one.kind in ("crash", "stop") or one.kind.startswith("db-"))


def _leaders(run: "Run") -> list[float]:
    """Where there was another master all the while that could lead."""
    found = []
    for one in run.happened:
        if one.leads and _fells_a_master(one) and _others_well(run, one, _TERM_S):
            later = [at_s for at_s, _ in run.leaders.changes if one.at_s < at_s < one.at_s + _WITHIN_S]
            found += [min(later) - one.at_s] if later else []
    return found


def _calls(run: "Run") -> list[float]:
    """For each master that was killed and no other one harmed, how long at the most a call took from then on that had asked it."""
    found = []
    for one in run.happened:
        if one.kind != "crash" or not one.target.startswith("master") or not _others_well(run, one, _CALL_S):
            continue
        if any(_spoils_calls(other, one) for other in run.happened):
            continue
        asked = run.farm.people_host.url(one.target)
        calls = [
            call.at_s + call.took_s - max(call.at_s, one.at_s)
            for call in run.people.took
            if call.asked == asked and call.at_s < one.at_s + 1.0 and call.at_s + call.took_s > one.at_s
        ]
        found += [max(calls)] if calls else []
    return found


def _spoils_calls(other: Happened, one: Happened) -> bool:
    """Whether another fault keeps calls from the masters that are left. The weather of a master is that of people's own line."""
    overlaps = other.at_s < one.at_s + _CALL_S and one.at_s < other.at_s + other.lasts_s + _AFTERMATH_S
    return other is not one and overlaps and other.target.startswith("master")


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
