"""Who depends on whom."""

from collections.abc import Iterable, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from millrace.supervisor.plan import ProcessPlan


def order(processes: Mapping[str, ProcessPlan]) -> Sequence[str]:
    """Names such that each comes after what it depends on; names that are free to choose stand in alphabetical order.

    Raises:
        graphlib.CycleError: two processes wait for each other; its second argument is the cycle.
    """
    sorter = TopologicalSorter({name: sorted(processes[name].depends_on) for name in sorted(processes)})
    sorter.prepare()
    found: list[str] = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        found += ready
        sorter.done(*ready)
    return found


def cycle(processes: Mapping[str, ProcessPlan]) -> Sequence[str]:
    """The names of a cycle, the first again at the end; empty where there is none."""
    try:
        order(processes)
    except CycleError as error:
        return list(reversed(error.args[1]))
    return ()


def dependents(processes: Mapping[str, ProcessPlan]) -> Mapping[str, frozenset[str]]:
    """For each name, all that depend on it, directly or through others. Raises as :func:`order`."""
    found: dict[str, set[str]] = {name: set() for name in processes}
    for name in reversed(order(processes)):
        for other in processes[name].depends_on:
            found[other] |= {name, *found[name]}
    return {name: frozenset(names) for name, names in found.items()}


_known: list[tuple[Mapping[str, ProcessPlan], Sequence[str], Mapping[str, frozenset[str]]]] = []


def layout(processes: Mapping[str, ProcessPlan]) -> tuple[Sequence[str], Mapping[str, frozenset[str]]]:
    """The order and the dependents, worked out once for a plan, since every step of the machine asks. Raises as :func:`order`."""
    if not _known or _known[0][0] is not processes:
        _known[:] = [(processes, order(processes), dependents(processes))]
    return _known[0][1:]


def above(needs: Mapping[str, Iterable[str]]) -> Mapping[str, frozenset[str]]:
    """For each name, all that need it, directly or through others. `needs` may run in circles, since instances of several plans
    live side by side: who stands in one with it is left out, for each would wait for the other to go first.
    """
    users: dict[str, set[str]] = {}
    for name, others in needs.items():
        users.setdefault(name, set())
        for other in others:
            users.setdefault(other, set()).add(name)
    found = {name: _reached(users, name) for name in users}
    return {name: frozenset(user for user in all_users if name not in found[user]) for name, all_users in found.items()}


def _reached(users: Mapping[str, Iterable[str]], name: str) -> set[str]:
    found: set[str] = set()
    waiting = list(users[name])
    while waiting:
        one = waiting.pop()
        if one not in found and one != name:
            found.add(one)
            waiting += users[one]
    return found
