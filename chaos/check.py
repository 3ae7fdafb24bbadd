"""What must hold at the end of a run: what holds of any (`sim.told`), and what only real processes show."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from chaos.evidence import Evidence, replay
from sim.told import Case, check_told

if TYPE_CHECKING:
    from chaos.run import Run

ENGINE_S = 5.0
"""How long an engine may take to end after its attempt, on cores that others use, too."""
_OURS = frozenset({503, 507})
"""Server errors with which a farm says that it cannot do something at present."""

Fail = Callable[[str, str], None]


def check(run: "Run", *, left: list[str], codes: Mapping[str, int | None], fail: Fail) -> None:
    """Tell of everything that does not hold. `left` are jobs that did not end, `codes` programs that did not end well."""
    assert run.evidence is not None
    if left:
        states = run.evidence.read("SELECT id, state FROM jobs WHERE finished_at IS NULL")
        fail("I1", f"{len(left)} jobs do not end although nothing goes wrong any more: {states[:5]}")
    ledger = replay(run.evidence, fail)
    check_told(
        Case(
            history=run.history,
            read=run.evidence.read,
            ledger=ledger,
            fail=fail,
            known=run.people.known,
            media=run.farm.media,
            blobs=run.farm.blobs,
            attempt_in=lambda *_: None,
        )
    )
    _submitted(run, fail)
    _fetched(run, fail)
    _answers(run, fail)
    _engines(run, run.evidence, fail)
    _programs(run, codes, fail)
    for process in run.processes.left():
        run.processes.orphans += 1
        fail("I15", f"{process} lives on after the end of all")


def _submitted(run: "Run", fail: Fail) -> None:
    """Who asks for long enough gets an answer."""
    refused = [order.index for order in run.plan.orders if order.index not in run.people.known]
    if refused:
        fail("I1", f"jobs {refused[:9]} could not be submitted, although nothing went wrong any more")


def _fetched(run: "Run", fail: Fail) -> None:
    for event in run.history.of("fetched"):
        if not event.fields[2]:
            fail(
                "I12", f"the output {event.fields[1]} of {event.fields[0]} was downloaded, and is not what is recorded"
            )


def _answers(run: "Run", fail: Fail) -> None:
    """A server error is one that the product means."""
    for (request, status), count in sorted(run.farm.statuses.items()):
        if status >= 500 and status not in _OURS:
            fail("I0", f"{request} was answered with {status}, {count} times")


def _engines(run: "Run", evidence: Evidence, fail: Fail) -> None:
    """When an attempt is over, so is its engine, unless its worker stood still and could not know."""
    rows = evidence.read(
        "SELECT j.id || '.' || a.position, a.attempt, a.ended_at, a.outcome FROM attempts a JOIN jobs j ON j.number = a.job "
        "WHERE a.ended_at IS NOT NULL"
    )
    for task, attempt, ended_ms, outcome in rows:
        seen = run.processes.engines.get((task, attempt))
        if seen is None:
            continue
        ended_s = ended_ms / 1000 - run.began_s
        # A cancel is heard with a heartbeat, or when the lease ends that is not extended.
        until_s = ended_s + ENGINE_S + (run.plan.rules.ttl_s if outcome == "canceled" else 0.0)
        for one in run.happened:
            if one.kind == "stop" and one.target == seen.worker and one.at_s < seen.last_s:
                until_s = max(until_s, one.at_s + one.lasts_s + ENGINE_S)
        if seen.last_s > until_s:
            fail(
                "I10", f"the engine of attempt {attempt} of {task} ran on {seen.worker} for {seen.last_s - ended_s:.1f} s "
                f"after it was over ({outcome})",
            )  # fmt: skip


def _programs(run: "Run", codes: Mapping[str, int | None], fail: Fail) -> None:
    """They end well when asked to, and what they say is no traceback."""
    for name, code in codes.items():
        fail("I0", f"{name} did not end in good order: {'it had to be killed' if code is None else f'code {code}'}")
    for machine in (*run.farm.masters, *run.farm.workers):
        text = machine.log.read_text(errors="replace")
        if "Traceback" in text:
            at = text.index("Traceback")
            fail("I0", f"{machine.name} ended with a traceback: {text[at : at + 2000].splitlines()[-1][:300]}")
