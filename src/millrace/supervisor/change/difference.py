"""What two plans differ in, and what has to be started again for it. Pure; names keys, never a value."""

from collections.abc import Iterator, Mapping

from msgspec import Struct

from millrace.supervisor.plan import Kind, Plan, ProcessPlan

IN_PLACE = frozenset(
    {"scale", "max_scale", "autostart", "depends_on", "restart", "shutdown", "health_check", "logging", "schedule", "hooks", "rolling", "autoscale"}
)  # fmt: skip
"""Fields of a process that a running one takes over; a change of any other needs a new start."""
_IN_PLACE_OF_EXECUTION = frozenset({"forward"})
_KEYS = {"kind": "type", "autostart": "initial_state", "forward": "forward_signals", "resources": "limits"}


class Change(Struct, frozen=True):
    """A process that both plans have. `keys` are those of the plan that differ; `restarts`: a running one is replaced."""

    name: str
    keys: tuple[str, ...]
    restarts: bool


class Difference(Struct, frozen=True, kw_only=True):
    """From one plan to another: names in alphabetical order, and the keys that hold for the whole."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[Change, ...] = ()
    unchanged: tuple[str, ...] = ()
    whole: tuple[str, ...] = ()

    @property
    def nothing(self) -> bool:
        """Whether the plans are the same."""
        return not (self.added or self.removed or self.changed or self.whole)


def difference(old: Plan, new: Plan) -> Difference:
    """What has to be done to get from one plan to the other."""
    both = sorted(old.processes.keys() & new.processes.keys())
    changes = [change(old.processes[name], new.processes[name]) for name in both]
    return Difference(
        added=tuple(sorted(new.processes.keys() - old.processes.keys())),
        removed=tuple(sorted(old.processes.keys() - new.processes.keys())),
        changed=tuple(one for one in changes if one.keys),
        unchanged=tuple(one.name for one in changes if not one.keys),
        whole=tuple(key for key in _differing(old, new) if key != "processes"),
    )


def change(old: ProcessPlan, new: ProcessPlan) -> Change:
    """What differs in one process."""
    keys: list[str] = []
    for name in _differing(old, new):
        if name == "execution":
            keys += _differing(old.execution, new.execution)
        elif name == "env":
            keys += [f"env.{variable}" for variable in _unequal(old.env, new.env)]
        else:
            keys.append(name)
    named = dict.fromkeys(_KEYS.get(key, key) for key in keys)  # two fields may come from one key
    return Change(old.name, tuple(named), needs_restart(old, new))


def needs_restart(old: ProcessPlan, new: ProcessPlan) -> bool:
    """Whether what was started by the one is not what the other wants. A run of a scheduled process always goes on."""
    if old is new or (old.kind is Kind.SCHEDULED and new.kind is Kind.SCHEDULED):
        return False
    differing = set(_differing(old, new)) - IN_PLACE
    # Who is not asked, but says how it is, or prints it, was told at its start, and says it once.
    if old.health_check != new.health_check and not (_is_asked(old) and _is_asked(new)):
        return True
    if differing == {"execution"}:
        return bool(set(_differing(old.execution, new.execution)) - _IN_PLACE_OF_EXECUTION)
    return bool(differing)


def _is_asked(plan: ProcessPlan) -> bool:
    return plan.health_check is None or plan.health_check.kind.asks


def _differing(old: Struct, new: Struct) -> Iterator[str]:
    return (name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name))


def _unequal(old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    return sorted(name for name in old.keys() | new.keys() if old.get(name) != new.get(name))
