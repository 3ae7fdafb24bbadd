"""What a task needs of a machine, what a machine offers, and whether the two match.

Tasks with equal needs form one requirement class, so that a claim asks only for the classes that a node satisfies and
never scans a task that it could not run.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property

import msgspec
from msgspec import Struct, field
from msgspec.structs import replace

from millrace.domain.sessions import chosen_among, family_of

_CANONICAL = msgspec.json.Encoder(order="sorted")


class Needs(Struct, frozen=True, kw_only=True, dict=True):
    """What a task needs: an engine, one working encoder for each codec, labels, memory.

    `encoders` holds, for each codec that the task writes, the acceptable encoders, in order of preference. `streams` says of an
    encoder of hardware how many pictures at once the task would make with it, where that is not one.
    """

    engine: str = "ffmpeg"
    encoders: tuple[tuple[str, ...], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 0
    streams: Mapping[str, int] = field(default_factory=dict)

    def to_document(self) -> dict[str, object]:
        """Plain JSON data with one spelling for equal needs."""
        return {
            **({"streams": dict(sorted(self.streams.items()))} if self.streams else {}),
            "engine": self.engine,
            "encoders": sorted(sorted(group) for group in self.encoders),
            "labels": dict(sorted(self.labels.items())),
            "memory_mb": self.memory_mb,
        }

    @cached_property
    def digest(self) -> str:
        """Equal for equal needs; names the requirement class."""
        return hashlib.sha256(_CANONICAL.encode(self.to_document())).hexdigest()[:32]


def needs_from(document: Mapping[str, object]) -> Needs:
    """Read back what :meth:`Needs.to_document` gave."""
    encoders = document["encoders"]
    labels = document["labels"]
    memory_mb = document["memory_mb"]
    streams = document.get("streams", {})
    if not isinstance(encoders, list) or not isinstance(labels, Mapping) or not isinstance(memory_mb, int):
        raise TypeError("cannot read stored needs: encoders, labels or memory_mb has the wrong type")
    return Needs(
        engine=str(document["engine"]),
        encoders=tuple(tuple(str(name) for name in group) for group in encoders),
        labels={str(key): str(value) for key, value in labels.items()},
        memory_mb=memory_mb,
        streams={str(name): int(count) for name, count in streams.items()} if isinstance(streams, Mapping) else {},
    )


EARLY = "-early"
"""The end of the name of an ability: to begin with a film of which not all has arrived, or to make and join parts of one."""


def early(needs: Needs) -> Needs:
    """What it takes to begin a task whose input still arrives: a worker of a version that can."""
    return replace(needs, engine=needs.engine + EARLY)


class Offer(Struct, frozen=True, kw_only=True):
    """What a node offers: engines, encoders proven by a real encode, labels, memory, and of each family of hardware encoders the sessions
    that it has at once (of one that is left out, any number).
    """

    engines: frozenset[str]
    encoders: frozenset[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 0
    sessions: Mapping[str, int] = field(default_factory=dict)


def taken(offer: Offer, needs: Needs) -> dict[str, int]:
    """The sessions, by family, that a task with these needs takes on a node with this offer."""
    found: dict[str, int] = {}
    for group in needs.encoders:
        encoder = chosen_among(offer.encoders.intersection(group))
        family = None if encoder is None else family_of(encoder)
        if encoder is not None and family is not None:
            found[family] = found.get(family, 0) + needs.streams.get(encoder, 1)
    return found


def satisfies(offer: Offer, needs: Needs) -> bool:
    """Whether a node with this offer can run a task with these needs."""
    return missing(offer, needs) is None


def missing(offer: Offer, needs: Needs) -> str | None:
    """The first thing that the offer lacks, as a phrase for the user; None where nothing is missing."""
    if needs.engine not in offer.engines:
        waits = needs.engine.endswith(EARLY)
        return "a version that can begin while an upload arrives" if waits else f"the engine {needs.engine}"
    for group in needs.encoders:
        if not offer.encoders.intersection(group):
            return f"a working encoder among {', '.join(group)}"
    for key, value in needs.labels.items():
        if offer.labels.get(key) != value:
            return f"the label {key}={value}"
    if needs.memory_mb > offer.memory_mb:
        return f"{needs.memory_mb} MB of memory"
    for family, count in taken(offer, needs).items():
        if count > offer.sessions.get(family, count):
            return f"{count} sessions of {family} at once"
    return None
