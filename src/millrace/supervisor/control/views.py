"""From what the machine knows to what is told. The environment and the command line of a process are never told."""

from millrace.supervisor.change.difference import Difference
from millrace.supervisor.change.reloads import Reload
from millrace.supervisor.control.rest import foremost, instances_of
from millrace.supervisor.facts import Facts, LastEnd
from millrace.supervisor.ledger import signal_name
from millrace.supervisor.plan import Kind, ProcessPlan
from millrace.supervisor.plans.layers import Origin
from millrace.supervisor.state import Id, Instance, Phase, State
from millrace.wire.v1.supervise import AutoscaleView, EndView, InstanceView, ProcessChange, ProcessView, ReloadView

_NOTHING = Facts()


def max_scale(plan: ProcessPlan) -> int:
    """How many instances there may be."""
    return 1 if plan.kind is Kind.ONESHOT else plan.max_scale


def end_view(end: LastEnd) -> EndView:
    """An end, with the name of the signal."""
    return EndView(
        at=end.at, how=end.how, code=end.code, signal=None if end.signal is None else signal_name(end.signal)
    )


def instance_view(each: Id, instance: Instance, facts: Facts | None, *, now_s: float) -> InstanceView:
    """One instance; `now_s` is the monotonic clock in seconds."""
    known = facts or _NOTHING
    runs = known.pid is not None and instance.phase in (Phase.RUNNING, Phase.STOPPING)
    return InstanceView(
        id=str(each),
        state=instance.phase.value,
        ready=instance.ready,
        pid=known.pid if runs else None,
        started=known.started if runs else None,
        uptime_s=round(max(0.0, now_s - instance.began_s), 3) if runs else None,
        restarts=instance.restarts,
        failures=instance.failures,
        reason=instance.reason,
        last_end=end_view(known.last_end) if known.last_end else None,
        status=instance.status if runs else "",
    )


def process_view(
    plan: ProcessPlan, state: State, facts: dict[Id, Facts], *, now_s: float, origin: Origin = "plan"
) -> ProcessView:
    """One process with its instances."""
    found = instances_of(state, plan.name)
    return ProcessView(
        name=plan.name,
        type=plan.kind.value,
        state=foremost(instance.phase for _, instance in found).value,
        desired=state.wanted.get(plan.name, 0),
        ready=sum(instance.ready for _, instance in found),
        max_scale=max_scale(plan),
        depends_on={name: condition.value for name, condition in plan.depends_on.items()},
        replacing=(roll := state.rolls.get(plan.name)) is not None and not roll.halted,
        halted="" if roll is None else roll.halted,
        autoscale=_autoscale_view(plan, state),
        origin=origin,
        instances=[instance_view(each, instance, facts.get(each), now_s=now_s) for each, instance in found],
    )


def _autoscale_view(plan: ProcessPlan, state: State) -> AutoscaleView | None:
    rule, known = plan.autoscale, state.scalings.get(plan.name)
    if rule is None or known is None:
        return None
    return AutoscaleView(
        min=rule.least, max=rule.most, target=rule.target, value=known.value, pinned=known.pinned,
        failures=known.failures, reason=known.why,
    )  # fmt: skip


def reload_view(reload: Reload) -> ReloadView:
    """A change of the plan."""
    return difference_view(
        reload.difference, number=reload.number, outcome=reload.outcome.value, reason=reload.why
    )  # fmt: skip


def difference_view(found: Difference, *, number: int | None, outcome: str, reason: str = "") -> ReloadView:
    """What a change of the plan is, or would be."""
    return ReloadView(
        number=number,
        outcome=outcome,  # type: ignore[arg-type]  # a test compares the words
        reason=reason,
        added=list(found.added),
        removed=list(found.removed),
        changed=[ProcessChange(name=one.name, keys=list(one.keys), restarts=one.restarts) for one in found.changed],
        unchanged=list(found.unchanged),
        whole=list(found.whole),
    )
