"""Another plan, and instances replaced for it or because somebody asked: what is out of date, what goes when, and when it is done.

An instance lives by the plan that it was started with. It is outdated once its process says something else now that needs
a new start, and is replaced: gradually, where others can go on serving meanwhile, after everything that it depends on; else
at once, after everything that depends on it and goes down as well. So a change that is taken back half-way is one more change,
and leaves what it did not reach as it is.
"""

from collections.abc import Mapping, Sequence

from msgspec.structs import replace

from millrace.supervisor.change.autoscale import Scaling, decide
from millrace.supervisor.change.difference import Difference, difference, needs_restart
from millrace.supervisor.change.reloads import Outcome, Reload
from millrace.supervisor.change.rolling import TRIES, Roll, Standing, is_gradual, replaceable
from millrace.supervisor.draft import Draft
from millrace.supervisor.graph import above, layout
from millrace.supervisor.plan import Condition, Kind, Plan
from millrace.supervisor.schedule.jobs import Job, filled
from millrace.supervisor.state import (
    AT_REST,
    Adopt,
    Changing,
    Id,
    Instance,
    Late,
    Limit,
    LimitReload,
    Measured,
    Phase,
    Probe,
    Prove,
    Proven,
    Reloaded,
    ReloadLate,
    Replanned,
    Rescaled,
    Rolled,
    Unpinned,
)

_LIVE = frozenset({Phase.STARTING, Phase.RUNNING, Phase.STOPPING, Phase.CLEANING})


class Turnover(Draft):
    """A draft that knows how to get from one plan to another."""

    # What happened ---------------------------------------------------------------------------------------------------

    def _hear_of_change(self, event: Changing) -> None:
        match event:
            case Replanned():
                self._replan(event)
            case ReloadLate():
                if self._reload is not None and self._reload.number == event.number:
                    missed = self._missed()
                    self._give_up(f"too late: {missed}" if missed else "")
            case Proven() | Late():
                self._hear_of_try(event)
            case Measured():
                self._measure(event)
            case Unpinned():
                if event.process in self._scalings:
                    self._scalings[event.process] = Scaling()

    def _hear_of_try(self, event: Proven | Late) -> None:
        """A new instance has been ready for long enough, or its time for that is over."""
        instance, plan = self._instances.get(event.id), self._plan.processes.get(event.id.process)
        if instance is None or plan is None:
            return
        if isinstance(event, Proven):
            if (instance.run, instance.spell) == (event.run, event.spell) and instance.ready:
                self._set(event.id, proven=True, proving=False, ticket=0)
        elif instance.ticket == event.ticket:
            why = f"{event.id} is not up after {plan.rolling.timeout_s:g} s{_because(instance)}"
            self._stall(event.id.process, why)

    def _measure(self, event: Measured) -> None:
        plan, known = self._plan.processes.get(event.process), self._scalings.get(event.process)
        if plan is None or plan.autoscale is None or known is None or self._ending:
            return
        before = self._wanted.get(event.process, 0)
        self._scalings[event.process], now = decide(
            plan.autoscale, known, count=before, at_s=event.at_s, value=event.value, why=event.why
        )
        if now != before:
            self._wanted[event.process] = now
            self._effects.append(Rescaled(event.process, before, now, self._scalings[event.process].why))

    # Another plan ----------------------------------------------------------------------------------------------------

    def _replan(self, event: Replanned) -> None:
        pending = self._reload if self._reload is not None and self._reload.outcome is Outcome.PENDING else None
        before, wanted = self._plan, dict(self._wanted)
        if pending is not None:
            self._close_reload(Outcome.SUPERSEDED, "another plan came")
            before, wanted = pending.before, self._as_before(pending)
        found = difference(self._plan, event.plan)
        # What an earlier change wanted, and did not see come up, is still waited for.
        watched = (pending.watched if pending is not None else frozenset()) & event.plan.processes.keys()
        watched |= {*found.added, *(one.name for one in found.changed if one.restarts or "scale" in one.keys)}
        self._reload = Reload(
            number=event.number, difference=found, before=before, wanted=wanted, watched=frozenset(watched)
        )
        self._effects.append(Reloaded(self._reload))
        if self._ending:
            self._close_reload(Outcome.ABANDONED, "everything is being stopped")
            return
        self._switch(event.plan, found)
        self._reload = replace(self._reload, given=dict(self._wanted))
        self._effects.append(LimitReload(event.number, event.plan.reloading.timeout_s))

    def _switch(self, plan: Plan, found: Difference) -> None:
        """From now on this is the plan; what of it needs a new start is seen when everything is settled."""
        old, self._plan = self._plan, plan
        self._want_as(plan, old)
        for each, instance in tuple(self._instances.items()):
            rule, target = instance.plan or old.processes.get(each.process), plan.processes.get(each.process)
            if target is None or (rule is not None and needs_restart(rule, target)):
                self._set(each, plan=rule)
            elif instance.plan is not None:
                self._adopt(each, instance)
        again = {one.name: one.restarts for one in found.changed}
        for name in again:
            self._rolls.pop(name, None)
        self._retry(again)
        self._effects.append(Adopt(plan))

    def _want_as(self, plan: Plan, old: Plan) -> None:
        """What people did by hand stays, until the plan says something else than before."""
        for name in old.processes.keys() - plan.processes.keys():
            self._wanted.pop(name, None)
            self._scalings.pop(name, None)
        for name, new in plan.processes.items():
            known, usual = old.processes.get(name), new.scale if new.autostart else 0
            wanted = self._wanted.get(name, 0)
            if known is None:
                self._wanted[name] = usual
            elif (new.scale != known.scale and wanted) or (new.autostart and not known.autostart and not wanted):
                self._wanted[name] = new.scale
            elif not new.is_service:
                self._wanted[name] = min(wanted, 1)
            if new.autoscale is None:
                self._scalings.pop(name, None)
            elif known is None or known.autoscale != new.autoscale:
                self._scalings[name] = Scaling(pinned=name in self._scalings and self._scalings[name].pinned)
            if new.schedule is None:
                self._jobs.pop(name, None)
            elif known is None or known.schedule != new.schedule:
                self._jobs[name] = filled(new.schedule, replace(self._jobs.get(name, Job()), due=None))

    def _as_before(self, change: Reload) -> dict[str, int]:
        """How many instances there were to be before a change; what was scaled by hand since stays so."""
        by_hand = {name: count for name, count in self._wanted.items() if change.given.get(name) != count}
        return {name: by_hand.get(name, change.wanted.get(name, 0)) for name in change.before.processes}

    def _adopt(self, each: Id, instance: Instance) -> None:
        """A process that runs goes on by the new rules."""
        before = None if instance.plan is None else instance.plan.health_check
        target = self._plan.processes[each.process]
        self._set(each, plan=target)
        if target.health_check == before or not instance.there or instance.phase is not Phase.RUNNING:
            return
        # It stays as ready as it is, until the new check has said often enough that it is not.
        self._set(each, passes=0, misses=0, ready=instance.ready or not self._is_gated(each))
        self._effects.append(Probe(each, instance.run))

    def _retry(self, changed: Mapping[str, bool]) -> None:
        """What was given up may work now; so may what was given up for it. What has ended well runs again if it is another."""
        _, above_them = layout(self._plan.processes)
        near = {*changed, *(one for name in changed for one in above_them[name])}
        for each, instance in tuple(self._instances.items()):
            name, phase = each.process, instance.phase
            if name not in self._plan.processes:
                continue
            if (phase is Phase.FAILED and name in near) or (phase is Phase.COMPLETED and changed.get(name)):
                self._set(each, phase=Phase.STOPPED, failures=0, reason="")
            elif phase is Phase.BACKING_OFF and name in changed:
                self._set(each, phase=Phase.WAITING, failures=0)
            elif phase is Phase.SCHEDULED and name not in self._jobs:
                self._set(each, phase=Phase.STOPPED)

    def _judge_change(self) -> None:
        """The change of the plan is given up as soon as something of it is known never to be up."""
        now = self._reload
        if now is None or now.outcome is not Outcome.PENDING:
            return
        if self._ending:
            self._close_reload(Outcome.ABANDONED, "everything is being stopped")
            return
        misfits = (why for name in sorted(now.watched) if (why := self._misfit(name)) is not None)
        if (first := next(misfits, None)) is not None:
            self._give_up(first)

    def _finish_change(self) -> None:
        """The change of the plan is over when all of it is up, and everything that was taken out is gone."""
        now = self._reload
        if now is None or now.outcome is not Outcome.PENDING or self._ending:
            return
        if not self._missed() and all(each.process in self._plan.processes for each in self._instances):
            self._close_reload(Outcome.APPLIED, "")

    def _missed(self) -> str:
        """What of the change is not up, with reasons; empty where all is."""
        now = self._reload
        watched = [] if now is None else sorted(now.watched)
        late = [
            f"{each} is not up ({self._instances[each].phase}){_because(self._instances[each])}"
            for name in watched
            for each in self._of(name)
            if self._is_wanted(each) and not self._is_up(each)
        ]
        return ", ".join(
            [*late, *(f"{name} is being replaced" for name in watched if name in self._rolls and not late)]
        )

    def _give_up(self, why: str) -> None:
        """Take the change back, where the plan says so. Without a reason all is up, and what is taken out takes its time."""
        now = self._reload
        if now is None or now.outcome is not Outcome.PENDING:
            return
        if not why:
            self._close_reload(Outcome.APPLIED, "")
        elif not self._plan.reloading.rollback:
            self._close_reload(Outcome.FAILED, why)
        else:
            wanted = self._as_before(now)
            self._close_reload(Outcome.ROLLED_BACK, why)
            self._switch(now.before, difference(self._plan, now.before))
            self._wanted = wanted

    def _close_reload(self, outcome: Outcome, why: str) -> None:
        if self._reload is not None:
            self._reload = replace(self._reload, outcome=outcome, why=why)
            self._effects.append(Reloaded(self._reload))

    # Replacing -------------------------------------------------------------------------------------------------------

    def _turn_over(self, names: Sequence[str], users: Mapping[str, frozenset[str]]) -> None:
        """Stop what is outdated, as far as may be now."""
        if self._ending:
            self._rolls.clear()
            return
        for name in names:
            if name not in self._rolls and any(map(self._is_outdated, self._of(name))):
                self._begin_roll(name)
        self._prove()
        self._judge_rolls()
        _, needs = layout(self._plan.processes)
        for name in tuple(self._rolls):
            if self._is_going_down(name):
                gone = users[name] - self._plan.processes.keys()
                going = gone | {other for other in users[name] if self._is_going_down(other)}
                waits = any(map(self._is_leaving, going))
            else:
                waits = any(name in needs[other] for other in self._rolls if not self._rolls[other].halted)
                waits = waits or self._missing(name) is not None
            if not waits and not self._rolls[name].halted:
                self._replace_some(name)

    def _judge_rolls(self) -> None:
        """What is replaced is done, and what cannot be is halted."""
        for name in sorted(self._rolls):
            if name not in self._plan.processes or self._is_rolled(name):
                self._rolls.pop(name)
                if name in self._plan.processes:
                    self._effects.append(Rolled(name))
            elif (why := self._misfit(name)) is not None:
                self._stall(name, why)

    def _begin_roll(self, name: str) -> None:
        self._rolls[name] = Roll()
        for each in self._of(name):
            if self._instances[each].ready and not self._is_outdated(each):
                self._set(each, proven=True)

    def _replace_some(self, name: str) -> None:
        wanted = self._wanted.get(name, 0)
        standings = {each: self._standing(each) for each in self._of(name) if self._is_wanted(each)}
        for each in replaceable(standings, wanted=wanted, rule=self._plan.processes[name].rolling):
            self._set(each, failures=0, ticket=0)
            self._stop(each, "is replaced by a new one")

    def _standing(self, each: Id) -> Standing:
        instance = self._instances[each]
        if instance.phase in (Phase.STARTING, Phase.RUNNING) and self._is_outdated(each):
            return Standing.SERVING if instance.ready else Standing.IDLE
        return Standing.UP if self._is_up(each) else Standing.MOVING

    def _limit(self, each: Id) -> None:
        """A new instance has so long to get up; a start after a crash is no new one."""
        if each.process in self._rolls and not self._instances[each].ticket:
            self._ticket += 1
            self._set(each, ticket=self._ticket)
            self._effects.append(Limit(each, self._ticket, self._plan.processes[each.process].rolling.timeout_s))

    def _prove(self) -> None:
        """Who got ready has to stay so for a while before it counts."""
        pending = self._reload is not None and self._reload.outcome is Outcome.PENDING
        names = {*self._rolls, *(self._reload.watched if self._reload is not None and pending else ())}
        for each, instance in tuple(self._instances.items()):
            if each.process not in names or not instance.ready or instance.proven or instance.proving:
                continue
            after_s = self._rule(each).rolling.min_ready_s
            if after_s:
                self._set(each, proving=True)
                self._effects.append(Prove(each, instance.run, instance.spell, after_s))
            else:
                self._set(each, proven=True, ticket=0)

    def _misfit(self, name: str) -> str | None:
        """Why the new instances of a process will not get up."""
        roll = self._rolls.get(name)
        if roll is not None and roll.halted:
            return roll.halted
        for each in self._of(name):
            instance = self._instances[each]
            if not self._is_wanted(each) or self._is_outdated(each) or instance.proven:
                continue
            if instance.phase is Phase.FAILED:
                return f"{each} has failed{_because(instance)}"
            if instance.failures >= TRIES and not self._is_job(name):
                return f"{each} ended {instance.failures} times before it was up{_because(instance)}"
        return None

    def _stall(self, name: str, why: str) -> None:
        roll = self._rolls.get(name)
        if roll is not None and not roll.halted:
            self._rolls[name] = Roll(why)
            self._effects.append(Rolled(name, why))

    def _standing_of_all(self) -> object:
        """What moves while everything is settled; nothing more can be done once it stands still."""
        outcome = None if self._reload is None else (self._reload.number, self._reload.outcome)
        found = [(each, one.phase, one.run, one.proven, one.proving) for each, one in self._instances.items()]
        return found, dict(self._rolls), outcome

    # Words -----------------------------------------------------------------------------------------------------------

    def _is_changing(self) -> bool:
        """Whether something is being replaced, waited for or taken out for another plan."""
        pending = self._reload is not None and self._reload.outcome is Outcome.PENDING
        return (
            bool(self._rolls)
            or pending
            or not {each.process for each in self._instances} <= self._plan.processes.keys()
        )

    def _count(self, name: str) -> int:
        """How many instances there shall be, with those that run beside the wanted ones for a while."""
        wanted, roll = self._wanted.get(name, 0), self._rolls.get(name)
        surge = self._plan.processes[name].rolling.max_surge
        return wanted + (surge if wanted and roll is not None and not roll.halted else 0)

    def _is_outdated(self, each: Id) -> bool:
        instance, target = self._instances[each], self._plan.processes.get(each.process)
        if target is None or instance.phase not in _LIVE:
            return False
        return instance.stale or (instance.plan is not None and instance.plan is not target)

    def _is_going_down(self, name: str) -> bool:
        """Whether it is replaced, and nothing of it goes on meanwhile."""
        if name not in self._rolls or self._rolls[name].halted:
            return False
        plan = self._plan.processes[name]
        return not plan.is_service or not is_gradual(plan.rolling, self._wanted.get(name, 0))

    def _is_leaving(self, name: str) -> bool:
        """Whether something of it is there that was taken out, or lives by what is no longer so."""
        if name in self._plan.processes:
            return any(map(self._is_outdated, self._of(name)))
        return self._is_there(name)

    def _is_rolled(self, name: str) -> bool:
        wanted = [each for each in self._of(name) if each.index < self._wanted.get(name, 0)]
        return not any(map(self._is_outdated, self._of(name))) and all(map(self._is_up, wanted))

    def _is_up(self, each: Id) -> bool:
        """Whether an instance is what it is to be, and has been for long enough."""
        instance, name = self._instances[each], each.process
        if self._is_outdated(each) or name not in self._plan.processes:
            return False
        if self._is_job(name):
            return instance.phase not in AT_REST
        done = instance.phase is Phase.COMPLETED
        return done or (self._plan.processes[name].is_service and instance.ready and instance.proven)

    def _is_job(self, name: str) -> bool:
        return self._plan.processes[name].kind is Kind.SCHEDULED

    def _missing(self, process: str) -> tuple[str, bool] | None:
        """What stands in the way of a start, and whether for good."""
        for name, condition in self._plan.processes[process].depends_on.items():
            found = [each for each in self._of(name) if each.index < max(1, self._wanted[name])]
            instances = [self._instances[each] for each in found]
            if self._is_going_down(name) and any(map(self._is_outdated, found)):
                return name, False
            if not instances or not all(_meets(one, condition) for one in instances):
                return name, any(one.phase is Phase.FAILED for one in instances)
        return None

    def _above(self) -> Mapping[str, frozenset[str]]:
        """Who needs whom, as they were started; who has not been, as the plan says."""
        needs = {name: set(plan.depends_on) for name, plan in self._plan.processes.items()}
        # Many instances live by few rules.
        rules = [one.plan for one in self._instances.values()]
        few = dict(zip(map(id, rules), rules, strict=True))
        fresh = (
            [self._rule(each) for each, one in self._instances.items() if one.plan is None] if id(None) in few else ()
        )
        started: dict[str, set[str]] = {}
        for rule in (*filter(None, few.values()), *fresh):
            started.setdefault(rule.name, set()).update(rule.depends_on)
        return above(needs | started)


def _meets(instance: Instance, condition: Condition) -> bool:
    if condition is Condition.COMPLETED:
        return instance.phase is Phase.COMPLETED
    if instance.phase is Phase.COMPLETED:
        return True
    return instance.phase is Phase.RUNNING and (condition is Condition.STARTED or instance.ready)


def _because(instance: Instance) -> str:
    return f": {instance.reason}" if instance.reason else ""
