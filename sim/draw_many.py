"""Jobs in batches, jobs that run after others, and schedules, drawn on top of a plan."""

from random import Random

from msgspec.structs import replace

from millrace.domain.masters import TERM_S
from millrace.domain.order import Priority, Queue
from millrace.domain.schedules import Overlap
from sim.engine import Behaviour
from sim.plan import Fault, JobPlan, Plan, Rules, SchedulePlan, Step

LEADERS = 15
"""In every other plan, the seed of which has this remainder by 16, it is the leaders that are at risk."""
_ALONE = 8
"""Jobs of the plan that stay: those that come here cost as much."""


def with_many(plan: Plan) -> Plan:
    """The plan with them. Its farm and its faults stay what they are, but in every other one."""
    chance = Random(f"many:{plan.seed}")
    if plan.seed % 16 == LEADERS:
        plan = _leaders_at_risk(plan, chance)
    jobs = [_after_others(chance, job) for job in plan.jobs[:_ALONE]]
    for batch in range(chance.choice((1, 2))):
        jobs += _batch(chance, batch, len(jobs), plan.ends_s)
    steps = [step for step in plan.steps if step.index < _ALONE or step.verb in ("drain", "undrain")]
    for job in jobs:
        steps += _steps(chance, job)
    schedules = tuple(_schedule(chance, index) for index in range(chance.choice((1, 1, 2))))
    return replace(plan, jobs=tuple(jobs), steps=tuple(steps), schedules=schedules)


def _leaders_at_risk(plan: Plan, chance: Random) -> Plan:
    """Two masters that stand still for longer than a term, or die, while they let jobs go and run schedules, on a database that is slow
    and loses connections: what one has begun, the other goes on with.
    """
    faults = [Fault(at_s=1.0, lasts_s=50.0, kind="db-slow", target="database", number=chance.choice((0.1, 0.2, 0.4)))]
    for _ in range(chance.choice((5, 8))):
        kind = chance.choice(("stop", "stop", "stop", "crash", "db-lost"))
        if kind == "db-lost":  # seldom enough for a master to go on leading
            target, lasts_s, number = "database", chance.uniform(10.0, 25.0), chance.choice((0.1, 0.2))
        else:
            target, lasts_s, number = f"master{chance.randrange(2)}", chance.uniform(1.1, 2.0) * TERM_S, 0.0
        faults.append(Fault(at_s=chance.uniform(3.0, 50.0), lasts_s=lasts_s, kind=kind, target=target, number=number))
    faults.sort(key=lambda fault: fault.at_s)
    return replace(plan, embedded=False, masters=2, faults=tuple(faults), rules=Rules(), ends_s=60.0)


def _after_others(chance: Random, job: JobPlan) -> JobPlan:
    """Half of the jobs run after one or two that were planned before them."""
    after: tuple[int, ...] = ()
    if job.index and chance.random() < 0.5:
        after = tuple(sorted(chance.sample(range(job.index), min(job.index, chance.choice((1, 1, 2))))))
    return replace(
        job,
        after=after,
        any_end=chance.random() < 0.25,
        later_s=chance.choice((0.0, 0.0, 0.0, chance.uniform(1.0, 6.0))),
        chunks=chance.choice((0, 0, 0, 2)),
    )


def _batch(chance: Random, batch: int, first: int, lasts_s: float) -> list[JobPlan]:
    at_s = chance.uniform(0.5, lasts_s)
    asks_twice = chance.random() < 0.5
    after = (chance.randrange(first),) if chance.random() < 0.3 else ()
    return [
        JobPlan(
            index=index,
            at_s=at_s,
            queue=Queue.BATCH,
            priority=Priority.MEDIUM,
            requires={},
            to_folder=False,
            asks_twice=asks_twice,
            max_retries=2,
            behaviour=_behaviour(chance),
            after=after,
            batch=batch,
        )
        for index in range(first, first + chance.randint(2, 5))
    ]


def _behaviour(chance: Random) -> Behaviour:
    ends = chance.choices((("well",), ("broken", "well"), ("bad-input",)), weights=(8, 1, 1))[0]
    return Behaviour(lasts_s=chance.choice((0.05, 1.0, 3.0)), ends=ends)


def _steps(chance: Random, job: JobPlan) -> list[Step]:
    """What people do to jobs that wait, and to those that are waited for."""
    if not job.after and chance.random() < 0.7:
        return []
    verbs = chance.choice(
        ((), (), ("pause", "resume"), ("cancel",), ("cancel", "retry"), ("pause", "resume", "pause", "resume"))
    )
    steps, at_s = [], job.at_s + chance.uniform(0.5, 8.0)
    for verb in verbs:
        steps.append(Step(at_s=at_s, verb=verb, index=job.index))
        at_s += chance.choice((0.05, 0.5, 3.0))
    return steps


def _schedule(chance: Random, index: int) -> SchedulePlan:
    return SchedulePlan(
        index=index,
        at_s=chance.uniform(0.2, 3.0),
        every_s=chance.choice((4, 5, 10)),
        overlap=chance.choice(list(Overlap)),
        job=JobPlan(
            index=-1,
            at_s=0.0,
            queue=Queue.DEFAULT,
            priority=Priority.MEDIUM,
            requires={},
            to_folder=False,
            asks_twice=False,
            max_retries=1,
            behaviour=Behaviour(lasts_s=chance.choice((0.05, 2.0, 9.0))),
        ),
    )
