"""What an answer, a notice or a silence changes for an instance. Pure: the machine sets it and does it."""

from enum import StrEnum
from typing import TYPE_CHECKING

from msgspec import Struct

from millrace.supervisor.health.notices import Notice
from millrace.supervisor.health.values import HealthCheck, ProbeKind

if TYPE_CHECKING:
    from millrace.supervisor.state import Instance


class Told(StrEnum):
    """What a process last said of where it is."""

    NOTHING = "nothing"
    READY = "ready"
    RELOADING = "reloading"
    STOPPING = "stopping"


class Patience(Struct, frozen=True):
    """How long the next word may take from now, in seconds; 0 waits without end. `extend` never shortens what there is."""

    for_s: float
    extend: bool = False


class Verdict(Struct, frozen=True):
    """What changes: the fields of the instance, how long to wait from now on, and what is so wrong that it must restart."""

    fields: dict[str, object]
    patience: Patience | None = None
    unwell: str = ""


def at_the_start(check: HealthCheck) -> Patience | None:
    """How long a process that just started may take until its first word."""
    return Patience(check.start_timeout_s) if not check.kind.asks and check.start_timeout_s else None


def after_answer(check: HealthCheck, instance: "Instance", *, well: bool, why: str) -> Verdict:
    """What the answer to a question changes; a line that was waited for is a good answer."""
    passes, misses = (instance.passes + 1, 0) if well else (0, instance.misses + 1)
    ready = instance.ready
    if check.gates:
        ready = passes >= check.success_threshold or (ready and misses < check.failure_threshold)
    fields = {"passes": passes, "misses": misses, "ready": ready, "reason": "" if well else why}
    unwell = why if check.restarts and misses >= check.failure_threshold else ""
    return Verdict(fields, None if check.kind.asks else Patience(0.0), unwell)


def after_notice(check: HealthCheck, instance: "Instance", notice: Notice, *, stop_s: float) -> Verdict:
    """What a notice changes. `stop_s` is how long the process may take to stop, also where it does so by itself.

    One that reloads stays as ready as it was (systemd calls it active, too), and has to say READY=1 again.
    """
    fields: dict[str, object] = {}
    patience = None
    watchdog_s = instance.watchdog_s
    if notice.watchdog_s is not None:
        fields["watchdog_s"] = watchdog_s = notice.watchdog_s
    if notice.status is not None:
        fields["status"] = notice.status
    told = instance.told
    if notice.stopping:
        told, patience = Told.STOPPING, Patience(stop_s)
        fields |= {"ready": False, "reason": "it says that it stops"}
    elif told is Told.STOPPING:
        pass  # there is no way back
    elif notice.reloading and not notice.ready:
        told, patience = Told.RELOADING, Patience(check.start_timeout_s)
        fields["reason"] = "it says that it reloads"
    elif notice.ready:
        told = Told.READY
    if told is Told.READY and (notice.ready or notice.alive or notice.watchdog_s is not None):
        patience = Patience(watchdog_s)
        fields |= {"ready": True, "reason": ""}
    fields["told"] = told
    if notice.extend_s is not None and patience is None:
        patience = Patience(notice.extend_s, extend=True)
    unwell = "it reported a failure (WATCHDOG=trigger)" if notice.failed else ""
    return _judged(check, Verdict(fields, patience, unwell))


def after_silence(check: HealthCheck, instance: "Instance") -> Verdict:
    """What it means that nothing was heard for as long as may be. Where nothing restarts, only the reason tells."""
    if check.kind is ProbeKind.LOG:
        pattern = "" if check.pattern is None else check.pattern.pattern
        why = f"printed no line that matches {pattern} within {check.start_timeout_s:g} s"
    elif instance.told is Told.READY:
        why = f"said no WATCHDOG=1 within {instance.watchdog_s:g} s"
    elif instance.told is Told.STOPPING:
        why = "said STOPPING=1, and did not end in time"
    else:
        since = " after RELOADING=1" if instance.told is Told.RELOADING else ""
        why = f"said no READY=1 within {check.start_timeout_s:g} s{since}"
    return _judged(check, Verdict({}, None, why))


def _judged(check: HealthCheck, verdict: Verdict) -> Verdict:
    """Where the check restarts nothing, what is wrong gates and is told."""
    if not verdict.unwell or check.restarts:
        return verdict
    return Verdict({**verdict.fields, "ready": False, "reason": verdict.unwell}, verdict.patience)
