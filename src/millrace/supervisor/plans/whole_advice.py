"""What is to be said about a plan as a whole, or about several of its processes at once."""

from collections.abc import Iterator

from millrace.supervisor.graph import order
from millrace.supervisor.hooks import Moment
from millrace.supervisor.plan import Plan
from millrace.supervisor.plans.weight import Advice, Weight

_SHORT_S, _LONG_S = 10.0, 300.0
_NAMED = 5  # of many processes that have something in common, so many are named


def of_the_whole(plan: Plan, *, as_root: bool) -> Iterator[Advice]:
    """Everything of that kind."""
    yield from _time_to_stop(plan)
    yield from _users(plan, as_root=as_root)
    yield from _limits(plan)
    yield from _shares(plan)


def _time_to_stop(plan: Plan) -> Iterator[Advice]:
    key, whole_s = "global.shutdown_timeout", plan.shutdown_timeout_s
    if whole_s < _SHORT_S:
        message = f"is {whole_s:g} s, and then everything is killed; give 10 s or more"
        yield Advice(Weight.WARNING, key, message)
    elif whole_s > _LONG_S:
        message = f"is {whole_s:g} s; hosts kill a container long before that"
        yield Advice(Weight.SUGGESTION, key, message)
    longest_s, chain = _longest_chain(plan)
    if len(chain) > 1 and longest_s > whole_s:
        message = (
            f"is {whole_s:g} s, and {', then '.join(chain)} may take {longest_s:g} s to stop one after the other; "
            "raise it, or let them take less"
        )
        yield Advice(Weight.SUGGESTION, key, message)
    for hook in (*plan.hooks.get(Moment.PRE_STOP, ()), *plan.hooks.get(Moment.POST_STOP, ())):
        if hook.timeout_s > whole_s:
            message = f"is {whole_s:g} s, and the hook {hook.name} alone may take {hook.timeout_s:g} s; raise it"
            yield Advice(Weight.WARNING, key, message)


def _longest_chain(plan: Plan) -> tuple[float, list[str]]:
    """The processes that wait for each other's end and together take the longest, in the order in which they stop."""
    longest: dict[str, tuple[float, list[str]]] = {}
    for name in reversed(order(plan.processes)):
        above = [longest[other] for other, process in plan.processes.items() if name in process.depends_on]
        before_s, before = max(above, default=(0.0, []), key=lambda each: each[0])
        longest[name] = (before_s + plan.processes[name].shutdown.timeout_s, [*before, name])
    return max(longest.values(), default=(0.0, []), key=lambda each: each[0])


def _users(plan: Plan, *, as_root: bool) -> Iterator[Advice]:
    if as_root:
        names = [name for name, process in plan.processes.items() if process.execution.user is None]
        if names:
            message = f"would run {_some(names)} as root; give a user to each that needs no root"
            yield Advice(Weight.SUGGESTION, "processes", message)
        return
    for name, process in plan.processes.items():
        if process.execution.user is not None:
            message = f"is {process.execution.user}, and only root can change the user; run the supervisor as root"
            yield Advice(Weight.SUGGESTION, f"processes.{name}.user", message)


def _limits(plan: Plan) -> Iterator[Advice]:
    """Alone, a process has nobody to take anything from."""
    names = [name for name, process in plan.processes.items() if process.is_service and not process.execution.limited]
    if len(plan.processes) > 1 and names:
        message = f"sets no limits for {_some(names)}, so one that leaks takes from all; give limits, such as {{nofile: 4096, as: 2G}}"
        yield Advice(Weight.SUGGESTION, "processes", message)


def _shares(plan: Plan) -> Iterator[Advice]:
    shares = {name: process.tune.share for name, process in plan.processes.items() if process.tune is not None}
    if sum(shares.values()) > 1:
        message = f"promises {sum(shares.values()):.0%} of the machine to the pools of {_some(list(shares))}; give each a share"
        yield Advice(Weight.WARNING, "processes", message)


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
