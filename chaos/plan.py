"""What a seed stands for: the farm, its jobs, what people do, and which faults come when. Data, drawn once, before it runs.

The words are those of the simulation. Unlike there, a seed does not replay bit for bit: the kernel, the network and FFmpeg
have a mind of their own. It gives the same plan again, and with it mostly the same trouble.
"""

from collections.abc import Sequence
from random import Random

from msgspec import Struct

from sim.plan import Fault, Rules, Step

RULES = Rules(ttl_s=5.0, heartbeat_s=1.0)
"""A third of the lease that a farm has by default, so that a run of a minute sees many of them end."""

SUPERVISED_S = 0.2
"""How soon whoever keeps a process starts it again."""

OF_WORKERS = ("crash", "gone", "stop", "isolate", "deaf", "mute", "weather", "resets", "engine", "drain", "no-room")
OF_MASTERS = ("crash", "stop", "weather", "resets")
OF_LEADERS = ("crash", "stop", "db-isolate", "db-deaf", "db-mute")
OF_SERVERS = ("db-away", "db-restart", "db-lost", "fail-over")
OF_OUTPUTS = ("out-full",)
POINTS = frozenset({"engine", "drain", "db-restart", "db-lost", "fail-over"})
"""Faults of one moment."""


class Order(Struct, frozen=True, kw_only=True):
    """One job. `runs` is how much there is to encode: nothing (it waits for a time that does not come, and is canceled in the
    end), a second of film, or enough of it to be caught at it.
    """

    index: int
    at_s: float
    runs: str
    from_clip: bool
    to_folder: bool
    asks_twice: bool


class Plan(Struct, frozen=True, kw_only=True):
    """All of one run."""

    seed: int
    store: str
    masters: int
    workers: int
    orders: tuple[Order, ...]
    steps: tuple[Step, ...]
    faults: tuple[Fault, ...]
    rules: Rules
    ends_s: float


def draw(seed: int, *, store: str, seconds: float, kinds: Sequence[str] = (), runs: Sequence[str] = ()) -> Plan:
    """The plan of a seed; with `kinds` only these faults (`crash`, or `crash@master`), with `runs` only such jobs."""
    chance = Random(f"chaos:{seed}:{store}")
    masters, workers = (3, 3) if store == "postgres" else (1, 3)
    orders = tuple(_orders(chance, seconds, runs or ("nothing", "nothing", "short", "long")))
    return Plan(
        seed=seed,
        store=store,
        masters=masters,
        workers=workers,
        orders=orders,
        steps=tuple(_steps(chance, seconds, orders)),
        faults=tuple(_faults(chance, seconds, store=store, masters=masters, workers=workers, kinds=kinds)),
        rules=RULES,
        ends_s=seconds,
    )


def _orders(chance: Random, seconds: float, runs: Sequence[str]) -> list[Order]:
    """Each second some that wait and, every other second, one that is work for an encoder: two cores do not do more."""
    found: list[Order] = []
    at_s = 0.0
    while at_s < seconds:
        what = chance.choice(runs)
        found.append(
            Order(
                index=len(found), at_s=at_s, runs=what, from_clip=chance.random() < 0.4, to_folder=chance.random() < 0.6,
                asks_twice=chance.random() < 0.5,
            )
        )  # fmt: skip
        at_s += chance.uniform(0.05, 0.4) if what == "nothing" else chance.uniform(0.6, 2.0)
    return found


def _steps(chance: Random, seconds: float, orders: Sequence[Order]) -> list[Step]:
    """Mostly soon after a job was submitted, when somebody runs it."""
    steps = []
    for order in orders:
        if order.runs == "nothing" or chance.random() > 0.3:
            continue
        at_s = order.at_s + chance.uniform(0.2, 6.0)
        verb = chance.choice(("cancel", "pause", "pause"))
        then = {"cancel": "retry", "pause": "resume"}[verb]
        steps.append(Step(at_s=at_s, verb=verb, index=order.index))
        if verb == "pause" or chance.random() < 0.6:
            steps.append(Step(at_s=at_s + chance.choice((0.3, 2.0, 6.0)), verb=then, index=order.index))
    return sorted(steps, key=lambda step: step.at_s)


def possible(store: str, masters: int, workers: int) -> list[tuple[str, str]]:
    """Every kind of fault with every target that it may have here."""
    found = [(kind, f"worker{index}") for kind in OF_WORKERS for index in range(workers)]
    found += [(kind, f"master{index}") for kind in OF_MASTERS for index in range(masters)]
    found += [(kind, "outputs") for kind in OF_OUTPUTS] + [("db-full", "database")]
    if store == "postgres":
        found += [(kind, "leader") for kind in OF_LEADERS] + [(kind, "database") for kind in OF_SERVERS]
    return found


def _faults(
    chance: Random, seconds: float, *, store: str, masters: int, workers: int, kinds: Sequence[str]
) -> list[Fault]:
    """Dealt like cards, so that no kind comes twice before each has come once."""
    there = [
        (kind, target)
        for kind, target in possible(store, masters, workers)
        if not kinds or {kind, f"{kind}@{target.rstrip('0123456789')}"} & set(kinds)
    ]
    deck: list[str] = []
    faults, at_s = [], chance.uniform(2.0, 4.0)
    while at_s < seconds and there:
        if not deck:
            deck = sorted({kind for kind, _ in there})
            chance.shuffle(deck)
        kind = deck.pop()
        target = chance.choice([whom for what, whom in there if what == kind])
        lasts_s = 0.0 if kind in POINTS else _lasts_s(chance, kind, target)
        faults.append(Fault(at_s=at_s, lasts_s=lasts_s, kind=kind, target=target, number=chance.choice((0.2, 0.5))))
        at_s += chance.uniform(2.0, 4.5)
    return faults


def _lasts_s(chance: Random, kind: str, target: str) -> float:
    if kind == "crash" and target.startswith("worker"):
        return SUPERVISED_S
    if kind in ("crash", "db-away"):
        return chance.choice((SUPERVISED_S, chance.uniform(1.0, 4.0)))
    if kind in ("weather", "resets", "no-room", "out-full", "db-full"):
        return chance.uniform(3.0, 6.0)
    return chance.uniform(1.2, 2.0) * RULES.ttl_s
