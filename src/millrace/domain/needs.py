"""What a task needs of a machine, what a machine offers, and whether the two match.

Tasks with equal needs form one requirement class, so that a claim asks only for the classes that a node satisfies and
never scans a task that it could not run.
"""

import hashlib
from collections.abc import Mapping
from functools import cached_property

import msgspec
from msgspec import Struct, field

_CANONICAL = msgspec.json.Encoder(order="sorted")


class Needs(Struct, frozen=True, kw_only=True, dict=True):
    """What a task needs: an engine, one working encoder for each codec, labels, memory.

    `encoders` holds, for each codec that the task writes, the acceptable encoders, in order of preference.
    """

    engine: str = "ffmpeg"
    encoders: tuple[tuple[str, ...], ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 0

    def to_document(self) -> dict[str, object]:
        """Plain JSON data with one spelling for equal needs."""
        return {
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
    if not isinstance(encoders, list) or not isinstance(labels, Mapping) or not isinstance(memory_mb, int):
        raise TypeError("cannot read stored needs: encoders, labels or memory_mb has the wrong type")
    return Needs(
        engine=str(document["engine"]),
        encoders=tuple(tuple(str(name) for name in group) for group in encoders),
        labels={str(key): str(value) for key, value in labels.items()},
        memory_mb=memory_mb,
    )


class Offer(Struct, frozen=True, kw_only=True):
    """What a node offers: engines, encoders proven by a real encode, labels, memory."""

    engines: frozenset[str]
    encoders: frozenset[str]
    labels: Mapping[str, str] = field(default_factory=dict)
    memory_mb: int = 0


def satisfies(offer: Offer, needs: Needs) -> bool:
    """Whether a node with this offer can run a task with these needs."""
    return missing(offer, needs) is None


def missing(offer: Offer, needs: Needs) -> str | None:
    """The first thing that the offer lacks, as a phrase for the user; None where nothing is missing."""
    if needs.engine not in offer.engines:
        return f"the engine {needs.engine}"
    for group in needs.encoders:
        if not offer.encoders.intersection(group):
            return f"a working encoder among {', '.join(group)}"
    for key, value in needs.labels.items():
        if offer.labels.get(key) != value:
            return f"the label {key}={value}"
    if needs.memory_mb > offer.memory_mb:
        return f"{needs.memory_mb} MB of memory"
    return None
