"""What the bytes of a piece of a film depend on, and the division of an earlier job that makes its pieces good for another one. Pure.

Two pieces with the same recipe are the same piece, whoever made them for whichever job. To leave something out of a recipe means that a
piece may be taken for another one, so what is not known to be without effect is in it.
"""

import hashlib

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from millrace.domain.media.chunks import unit_frames
from millrace.domain.media.outputs import Pictures, Plan
from millrace.domain.media.split import Chunking

FORMAT = 1
"""Grows whenever something that is in no argument changes what is made of it."""
AS_BEFORE = "as for an earlier job with this film: "
_CANONICAL = msgspec.json.Encoder(order="sorted", enc_hook=str)


class Recipe(Struct, frozen=True, kw_only=True):
    """What makes a piece: `source` and `build` are the SHA-256 of the input and of the engine's program with its libraries,
    `arguments` the list without places. `cores` is how many the engine saw where it chose its threads by itself; None elsewhere.
    """

    source: str
    build: str
    arguments: tuple[str, ...]
    cores: int | None = None
    format: int = FORMAT

    @property
    def key(self) -> str:
        """The piece's name in a cache: 64 hexadecimal digits."""
        return _digest(self)


def film_key(source: str, plan: Plan) -> str:
    """What films have in common that can be divided alike: the source, its grid of frames, and where cuts may lie on it."""
    pictures: Pictures | None = plan.pictures
    return _digest([FORMAT, source, pictures, unit_frames(plan) if plan.videos else 0])


def divided_as(plan: Plan, before: Plan, chunking: Chunking) -> Plan:
    """The plan with the division of an earlier one of the same film, where the job allows it; else the plan as it is.

    A rendition of the same size gets the same number of threads: what an encoder writes depends on them.
    """
    split, own = before.split, plan.split
    allowed = chunking is not (Chunking.ALWAYS if split.is_whole else Chunking.NEVER)
    if not allowed or not (own.is_possible or split.is_whole) or (own.workers and split.is_whole):
        return plan
    known = {video.size: split.threads_of(number) for number, video in enumerate(before.videos)}
    threads: tuple[int, ...] = ()
    if split.threads:
        others = (own.threads_of(number) for number in range(len(plan.videos)))
        threads = tuple(known.get(video.size) or other or 1 for video, other in zip(plan.videos, others, strict=True))
    return replace(
        plan,
        split=replace(
            own,
            chunks=split.chunks,
            threads=threads,
            at_once=own.at_once if own.workers else max(own.at_once, split.at_once),
            reason=AS_BEFORE + split.reason.removeprefix(AS_BEFORE),
        ),
    )


def _digest(value: object) -> str:
    return hashlib.sha256(_CANONICAL.encode(value)).hexdigest()
