"""Which plan a seed stands for, drawn before it runs: a change here changes what every seed stands for."""

from random import Random

from msgspec.structs import replace

from millrace.domain.order import Priority, Queue
from millrace.domain.tenants import NONE, Quotas
from sim.draw_many import with_many
from sim.engine import Behaviour
from sim.plan import Fault, JobPlan, Plan, Rules, Step, WorkerPlan

FAULTS = (
    "crash", "stop", "suspend", "isolate", "deaf", "mute", "weather", "storm", "resets", "wall", "drain", "hurry", "no-room",
    "db-away", "db-full", "db-lost", "db-ambiguous", "db-slow", "hints", "power", "slow-disk",
)  # fmt: skip
THEMES = (
    ("slow-disk", "stop"), ("slow-disk", "suspend"), ("slow-disk",), ("slow-disk", "storm"), ("wall", "isolate"), ("storm", "isolate"), ("power", "slow-disk"),
    ("db-ambiguous",), ("db-lost",), ("db-slow", "crash"), ("isolate",), ("resets",), ("db-slow", "stop"), ("hints",), ("suspend",), ("mute", "deaf"),
)  # fmt: skip
"""Kinds that are worst together."""
_OF_MACHINES = frozenset({"crash", "stop", "suspend", "isolate", "deaf", "mute", "weather", "storm", "resets", "wall"})
_OF_WORKERS = frozenset({"drain", "hurry", "no-room"})
_POINTS = frozenset({"wall", "drain", "hurry", "power"})
_SERVER_ONLY = frozenset({"db-away", "db-lost", "db-ambiguous", "hints"})


LIMITED = 13
"""In one seed of 24, the one with this remainder, the tenant has quotas."""


DIVIDING = 4
"""In one seed of 8, those with this remainder, jobs can be divided into chunks."""

STRAGGLING = 28
"""In one seed of 32, among those, some parts are slow, and so are some of those that are made twice because of that."""

MANY = 7
"""In one seed of 8, those with this remainder, jobs come in batches, after others, and by schedules, too."""


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    plan = _draw(seed)
    if seed % 8 == MANY:
        return with_many(plan)
    if seed % 8 != DIVIDING:
        return plan
    chance = Random(f"chunks:{seed}")
    jobs = tuple(replace(job, chunks=chance.choice((0, 2, 3, 5))) for job in plan.jobs)
    if seed % 32 == STRAGGLING:
        return _stragglers(seed, chance)
    if seed % 16 == DIVIDING:
        return replace(plan, jobs=jobs, steps=(*plan.steps, *_steps_on_parts(chance, jobs)))
    return _late_divisions(plan, chance)


def _late_divisions(plan: Plan, chance: Random) -> Plan:
    """Jobs that are divided, canceled and run again, in a network that delivers late and twice: a division arrives when the job is in
    another attempt.
    """
    jobs = tuple(
        replace(
            _plain_job(
                index,
                at_s=chance.uniform(0.5, 50.0),
                to_folder=False,
                behaviour=Behaviour(lasts_s=chance.uniform(1.0, 8.0)),
            ),
            chunks=2,
        )
        for index in range(8)
    )
    steps = []
    for job in jobs:
        at_s = job.at_s + chance.uniform(2.0, 5.0)
        for _ in range(3):
            steps.append(Step(at_s=at_s, verb="cancel", index=job.index))
            steps.append(Step(at_s=at_s + 0.2, verb="retry", index=job.index))
            at_s += chance.uniform(2.2, 6.0)
    storm = Fault(at_s=0.2, lasts_s=70.0, kind="storm", target="database", number=0.8)
    made = _ordeal(plan.seed, Rules(), jobs, [storm], workers=3, masters=chance.choice((1, 2)), slots=2)
    return replace(made, steps=tuple(steps))


def _stragglers(seed: int, chance: Random) -> Plan:
    """Jobs one by one, each with a part that takes so long that a second worker is given it; what that one makes is slow too now and
    then, so that both end together, or finds the input bad. Workers die, and people hold jobs, while two race.
    """
    jobs, steps, faults = [], [], []
    for index in range(5):
        lasts_s, at_s = chance.uniform(1.0, 3.0), 0.5 + 26.0 * index
        # The lead, sound and text, and five chunks come before the hedge.
        slow, hedge = chance.randrange(3, 8), 8
        paces = {slow: chance.uniform(4.0, 9.0), hedge: chance.choice((1.0, chance.uniform(1.0, 5.0)))}
        spoiled = chance.choice(((), (), (), (hedge,), (slow,)))
        behaviour = Behaviour(lasts_s=lasts_s, paces=paces, spoiled=spoiled)
        jobs.append(replace(_plain_job(index, at_s=at_s, to_folder=False, behaviour=behaviour), chunks=5))
        racing_s = at_s + chance.uniform(5.0, 20.0)
        for verb in chance.choice(((), (), (), ("pause", "resume"), ("cancel",))):
            steps.append(Step(at_s=racing_s, verb=verb, index=index))
            racing_s += chance.uniform(0.5, 5.0)
        if chance.random() < 0.6:
            kind, lasts = chance.choice(
                (("crash", 0.0), ("crash", 0.0), ("suspend", 9.0), ("isolate", 9.0), ("hurry", 0.0))
            )
            target = f"worker{chance.randrange(3)}"
            faults.append(Fault(at_s=at_s + chance.uniform(6.5, 13.0), lasts_s=lasts, kind=kind, target=target))
    if chance.random() < 0.3:
        faults.append(Fault(at_s=1.0, lasts_s=100.0, kind="storm", target="database", number=0.3))
    rules = Rules(ttl_s=5.0, heartbeat_s=1.0, hedge=True)
    made = _ordeal(
        seed, rules, tuple(jobs), faults, workers=3, masters=chance.choice((1, 2)), slots=chance.choice((1, 2, 2))
    )
    return replace(made, steps=tuple(steps), ends_s=140.0)


def _steps_on_parts(chance: Random, jobs: tuple[JobPlan, ...]) -> list[Step]:
    """What people do to jobs while their parts are made."""
    steps = []
    for job in jobs:
        at_s = job.at_s + chance.uniform(3.0, 15.0)
        for verb in chance.choice(((), (), ("pause", "resume"), ("cancel",), ("cancel", "retry"), ("pause", "cancel"))):
            steps.append(Step(at_s=at_s, verb=verb, index=job.index))
            at_s += chance.uniform(0.05, 6.0)
    return steps


def _draw(seed: int) -> Plan:
    chance = Random(f"plan:{seed}")
    if seed % 10 == 8:
        return _late_publishers(seed, chance)
    if seed % 10 == 6:
        return (_late_reports, _cut_off, _late_replacements)[seed // 10 % 3](seed, chance)
    if seed % 20 == 17:
        return _early_deaths(seed, chance)
    duel = chance.random() < 0.4
    embedded = not duel and chance.random() < 0.25
    masters = 1 if embedded else chance.choice((1, 2, 2, 3))
    short = (Rules(ttl_s=6.0, heartbeat_s=1.0), Rules(ttl_s=5.0, heartbeat_s=2.0, claim_wait_s=5.0))
    rules = chance.choice(short if duel else (Rules(), *short))
    workers = tuple(
        WorkerPlan(slots=chance.choice((1, 1, 2, 3)), labels=chance.choice(({}, {}, {"gpu": "yes"})))
        for _ in range(chance.choice((2, 3) if duel else (1, 2, 2, 3)))
    )
    lasts_s = chance.choice((30.0, 45.0, 60.0))
    jobs = tuple(_job(chance, index, workers, lasts_s) for index in range(chance.randint(4, 16)))
    if duel:
        faults = _duel(chance, lasts_s, rules.ttl_s, len(workers))
    else:
        faults = _faults(chance, lasts_s, rules.ttl_s, masters=masters, workers=len(workers), embedded=embedded)
    steps = _steps(chance, lasts_s, jobs, len(workers))
    return Plan(
        seed=seed,
        embedded=embedded,
        masters=masters,
        workers=workers,
        jobs=jobs,
        steps=steps,
        faults=faults,
        rules=rules,
        ends_s=lasts_s,
        quotas=Quotas(concurrent=1, queued=2) if seed % 24 == LIMITED else NONE,
    )


def _late_publishers(seed: int, chance: Random) -> Plan:
    """Short jobs that go into folders on slow disks, and workers that stand still for so long that another one has ended the
    job when they go on with publishing theirs.
    """
    rules = Rules(ttl_s=5.0, heartbeat_s=1.0)
    jobs = tuple(
        _plain_job(
            index, at_s=0.5 + 12.0 * index, to_folder=True, behaviour=Behaviour(lasts_s=chance.choice((0.05, 1.0)))
        )
        for index in range(chance.randint(3, 5))
    )
    faults = [Fault(at_s=0.1, lasts_s=75.0, kind="slow-disk", target="database")]
    for job in jobs:
        # Nobody knows which of the two runs it.
        kind, still_s = chance.choice(("stop", "suspend")), chance.uniform(2.6, 5.0) * rules.ttl_s
        at_s = job.at_s + chance.uniform(1.0, 7.0)
        faults.append(Fault(at_s=at_s, lasts_s=still_s, kind=kind, target=f"worker{job.index % 2}"))
    return _ordeal(seed, rules, jobs, faults, workers=2, masters=chance.choice((1, 2)), slots=1)


def _early_deaths(seed: int, chance: Random) -> Plan:
    """Jobs one by one, and a master that is killed right after it has accepted one, before it has written all that it owes."""
    jobs = [
        _plain_job(index, at_s=1.0 + 9.0 * index, to_folder=False, behaviour=Behaviour(lasts_s=0.05))
        for index in range(8)
    ]
    faults = [
        Fault(at_s=job.at_s + chance.uniform(0.0, 0.12), lasts_s=2.0, kind="crash", target="master0") for job in jobs
    ]
    return _ordeal(seed, Rules(ttl_s=5.0, heartbeat_s=1.0), tuple(jobs), faults, workers=2, masters=1, slots=2)


def _late_reports(seed: int, chance: Random) -> Plan:
    """Short jobs, some of which fail at first, in a network that delivers late, twice and not at all, under workers that vanish
    for longer than a lease: what they reported arrives when somebody else holds the task.
    """
    rules = Rules(ttl_s=5.0, heartbeat_s=1.0, claim_wait_s=5.0)
    jobs = tuple(
        _plain_job(
            index,
            at_s=chance.choice((0.5, chance.uniform(0.0, 60.0))),
            to_folder=chance.random() < 0.3,
            behaviour=Behaviour(
                lasts_s=chance.choice((0.05, 0.05, 1.0, 4.0)),
                ends=chance.choice((("well",), ("broken", "broken", "well"))),
            ),
        )
        for index in range(chance.randint(10, 16))
    )
    faults = [
        Fault(at_s=0.2, lasts_s=70.0, kind="storm", target="database", number=0.8),
        *(
            Fault(
                at_s=chance.uniform(1.0, 60.0),
                lasts_s=chance.uniform(1.05, 1.8) * rules.ttl_s,
                kind=chance.choice(("isolate", "crash", "suspend")),
                target=f"worker{chance.randrange(3)}",
            )
            for _ in range(chance.choice((4, 8, 12)))
        ),
    ]
    return _ordeal(seed, rules, jobs, faults, workers=3, masters=chance.choice((1, 2)), slots=2)


def _cut_off(seed: int, chance: Random) -> Plan:
    """Long jobs on all workers, one of which loses the network while its wall clock jumps: only its own count of time ends what it
    runs before others do.
    """
    rules = Rules(ttl_s=5.0, heartbeat_s=1.0)
    jobs, faults = [], []
    for wave_s in (0.5, 38.0):
        for _ in range(4):
            behaviour = Behaviour(lasts_s=chance.uniform(16.0, 24.0))
            jobs.append(_plain_job(len(jobs), at_s=wave_s, to_folder=False, behaviour=behaviour))
        at_s, target = wave_s + chance.uniform(2.0, 5.0), f"worker{chance.randrange(3)}"
        faults.append(Fault(at_s=at_s, lasts_s=3.0 * rules.ttl_s, kind="isolate", target=target))
        if chance.random() < 0.7:
            back_s = chance.uniform(2.0, 3600.0)
            faults.append(Fault(at_s=at_s + 0.5, lasts_s=0.0, kind="wall", target=target, number=-back_s))
    return _ordeal(seed, rules, tuple(jobs), faults, workers=3, masters=1, slots=2)


def _late_replacements(seed: int, chance: Random) -> Plan:
    """Jobs that may replace what is there, and two of three workers that stand still while they publish on a slow disk: nothing but
    the fence at the destination is in their way when they go on after the third one has published.
    """
    rules = Rules(ttl_s=5.0, heartbeat_s=1.0)
    jobs, faults = [], []
    for index, wave_s in enumerate((0.5, 30.5, 60.5)):
        behaviour = Behaviour(lasts_s=chance.choice((0.05, 1.0)))
        jobs.append(replace(_plain_job(index, at_s=wave_s, to_folder=True, behaviour=behaviour), overwrite=True))
        still_s = wave_s + chance.uniform(3.0, 12.0)
        faults.append(Fault(at_s=wave_s - 0.4, lasts_s=still_s - wave_s + 0.5, kind="slow-disk", target="database"))
        spared = chance.randrange(3)
        for worker in {0, 1, 2} - {spared}:
            kind = chance.choice(("stop", "suspend"))
            faults.append(Fault(at_s=still_s, lasts_s=chance.uniform(9.0, 14.0), kind=kind, target=f"worker{worker}"))
    return _ordeal(seed, rules, tuple(jobs), faults, workers=3, masters=1, slots=1)


def _plain_job(index: int, *, at_s: float, to_folder: bool, behaviour: Behaviour) -> JobPlan:
    return JobPlan(
        index=index,
        at_s=at_s,
        queue=Queue.DEFAULT,
        priority=Priority.MEDIUM,
        requires={},
        to_folder=to_folder,
        asks_twice=False,
        max_retries=2,
        behaviour=behaviour,
    )


def _ordeal(
    seed: int, rules: Rules, jobs: tuple[JobPlan, ...], faults: list[Fault], *, workers: int, masters: int, slots: int
) -> Plan:
    return Plan(
        seed=seed,
        embedded=False,
        masters=masters,
        workers=(WorkerPlan(slots=slots),) * workers,
        jobs=jobs,
        steps=(),
        faults=tuple(sorted(faults, key=lambda fault: fault.at_s)),
        rules=rules,
        ends_s=75.0,
    )


def _duel(chance: Random, lasts_s: float, ttl_s: float, workers: int) -> tuple[Fault, ...]:
    """Workers stand still for a little longer than a lease, again and again, on disks so slow that they do it in the midst of
    publishing and reporting: each time two may believe that they hold a task.
    """
    faults = [Fault(at_s=0.1, lasts_s=lasts_s, kind="slow-disk", target="database")]
    if chance.random() < 0.3:
        faults.append(Fault(at_s=1.0, lasts_s=lasts_s, kind="storm", target="database", number=0.2))
    for _ in range(chance.choice((3, 6, 9))):
        at_s, target = chance.uniform(1.0, lasts_s), f"worker{chance.randrange(workers)}"
        still_s = chance.uniform(1.05, 1.8) * ttl_s
        kind = chance.choice(("suspend", "suspend", "suspend", "stop", "isolate"))
        faults.append(Fault(at_s=at_s, lasts_s=still_s, kind=kind, target=target))
        if chance.random() < 0.25:
            faults.append(Fault(at_s=at_s + still_s / 2, lasts_s=0.0, kind="hurry", target=target))
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def _job(chance: Random, index: int, workers: tuple[WorkerPlan, ...], lasts_s: float) -> JobPlan:
    ends = chance.choices(
        (("well",), ("broken", "well"), ("broken",), ("bad-input",), ("hangs", "well"), ("kills", "well"), ("kills",)),
        weights=(30, 8, 2, 2, 2, 2, 1),
    )[0]
    gpu = any(worker.labels for worker in workers)
    return JobPlan(
        index=index,
        at_s=chance.choice((0.5, chance.uniform(0, lasts_s), chance.uniform(0, lasts_s))),
        queue=chance.choice((Queue.DEFAULT, Queue.DEFAULT, Queue.LIVE, Queue.BATCH)),
        priority=chance.choice((Priority.MEDIUM, Priority.MEDIUM, Priority.HIGH, Priority.LOW)),
        requires={"gpu": "yes"} if gpu and chance.random() < 0.2 else {},
        to_folder=chance.random() < 0.6,
        asks_twice=chance.random() < 0.4,
        max_retries=chance.choice((1, 2, 3)),
        behaviour=Behaviour(
            lasts_s=chance.choice((0.05, 1.0, 4.0, chance.uniform(2, 12), chance.uniform(5, 25))), ends=ends
        ),
    )


def _steps(chance: Random, lasts_s: float, jobs: tuple[JobPlan, ...], workers: int) -> tuple[Step, ...]:
    steps = []
    for _ in range(chance.choice((0, 2, 5, 12))):
        index = chance.randrange(len(jobs))
        # Mostly soon after it was submitted, when somebody runs it.
        at_s = chance.choice((chance.uniform(2.0, lasts_s), *[jobs[index].at_s + chance.uniform(0.1, 8.0)] * 2))
        verb = chance.choice(("cancel", "cancel", "pause", "pause", "retry"))
        steps.append(Step(at_s=at_s, verb=verb, index=index))
        after_s = chance.choice((0.05, 0.5, 3.0, 12.0))
        if verb == "pause":
            steps.append(Step(at_s=at_s + after_s, verb="resume", index=index))
        if verb == "cancel" and chance.random() < 0.7:
            steps.append(Step(at_s=at_s + after_s, verb="retry", index=index))
    if chance.random() < 0.35:
        at_s, index = chance.uniform(2.0, lasts_s), chance.randrange(workers)
        steps.append(Step(at_s=at_s, verb="drain", index=index))
        steps.append(Step(at_s=at_s + chance.uniform(1.0, 20.0), verb="undrain", index=index))
    return tuple(steps)


def _faults(
    chance: Random, lasts_s: float, ttl_s: float, *, masters: int, workers: int, embedded: bool
) -> tuple[Fault, ...]:
    """None in a tenth of the seeds; else a few, of a few kinds, so that one kind can do its worst."""
    if chance.random() < 0.1:
        return ()
    possible = [kind for kind in FAULTS if not (embedded and kind in _SERVER_ONLY)]
    kinds = (
        list(chance.choice(THEMES)) if chance.random() < 0.6 else chance.sample(possible, chance.choice((1, 2, 3, 5)))
    )
    kinds = [kind for kind in kinds if kind in possible] or ["stop"]
    machines = [f"master{index}" for index in range(masters)] + [f"worker{index}" for index in range(workers)] * 2
    faults = []
    for _ in range(chance.choice((2, 4, 8, 12))):
        kind = chance.choice(kinds)
        target = "database"
        if kind in _OF_MACHINES:
            target = chance.choice(machines)
        elif kind in _OF_WORKERS:
            target = f"worker{chance.randrange(workers)}"
        if embedded and kind == "wall" and target.startswith("master"):
            continue
        long_s = chance.choice(
            (chance.uniform(0.05, 2.0), chance.uniform(0.5, 1.0) * ttl_s, chance.uniform(1.05, 2.5) * ttl_s)
        )
        number = chance.uniform(-86400, 86400) if kind == "wall" else chance.choice((0.05, 0.2, 0.5))
        faults.append(
            Fault(
                at_s=chance.uniform(1.0, lasts_s), lasts_s=0.0 if kind in _POINTS else long_s, kind=kind, target=target,
                number=number,
            )
        )  # fmt: skip
    return tuple(sorted(faults, key=lambda fault: fault.at_s))
