"""Which encoders really work on this machine: each by a tiny real encode, remembered until the binary or a driver changes."""

import asyncio
import hashlib
import json
import os
import re
import signal
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from msgspec import Struct

from millrace.engines.engine import Command, Engine
from millrace.process.child import Child
from millrace.process.sandbox import Able
from millrace.process.values import CannotStart, Spec
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.worker.own_turn import own_turn
from millrace.worker.shut_in import sandbox_for

log = logger("worker")

PROOF_TIMEOUT_S = 30.0
HEAD_BYTES = 1 << 16
AT_ONCE = 4
_WHO = re.compile(r"\[[^\]]* @ 0x[0-9a-f]+\]\s*")
"""Which part of FFmpeg speaks, with an address that is another one at every start."""
_DRIVER_FACTS = (
    Path("/proc/driver/nvidia/version"),
    Path("/sys/module/i915/version"),
    Path("/sys/module/amdgpu/version"),
)


class EngineSource(Struct, frozen=True, kw_only=True):
    """An engine before it is known what works.

    Attributes:
        name: as jobs name it.
        binary: the program; proofs hold as long as it stays the same file.
        encoders: which encoders to try.
        bind: makes the engine for the encoders that work.
        session: the command that takes a session of an encoder of hardware and holds it, beginning to print its frames once it has it; None
            where sessions cannot be counted.
    """

    name: str
    binary: Path
    encoders: tuple[str, ...]
    bind: Callable[[frozenset[str] | None], Engine]
    session: Callable[[str], Command] | None = None


class Proven(Struct, frozen=True, kw_only=True):
    """An engine with what was found: for each encoder the reason why it does not work, or an empty text.

    `ability` names what it takes to make parts of a film together with others: the same build of the engine. `bind` makes the
    engine for some of the encoders alone. `sessions`: how many each family of hardware encoders has at once, where that is bounded.
    """

    name: str
    engine: Engine
    reasons: Mapping[str, str]
    ability: str
    bind: Callable[[frozenset[str] | None], Engine]
    sessions: Mapping[str, int] = {}

    @property
    def working(self) -> frozenset[str]:
        """The encoders that work."""
        return frozenset(encoder for encoder, reason in self.reasons.items() if not reason)


async def prove(
    source: EngineSource,
    *,
    cache: Path,
    environment: Mapping[str, str],
    clock: Clock,
    folder: Path,
    able: Able | None = None,
    anew: bool = False,
) -> Proven:
    """Try each encoder that the cache does not know, several at once, shut in as engines are. `folder` is where trials may write.
    With `anew` the cache is believed nothing, and gets what is found now.

    Workers that share the cache do it one after the other, so that the first finds out for all.

    An engine whose binary is missing proves nothing, each encoder with that reason.
    """
    key = key_of(source.binary, able)

    def look() -> tuple[dict[str, str], list[str]]:
        known = {} if anew else remembered(cache, key)
        return known, [encoder for encoder in source.encoders if encoder not in known]

    known, unknown = look()
    if unknown:
        async with own_turn(cache.with_name(cache.name + ".lock"), clock=clock):
            known, unknown = look()  # another worker of this machine may have found out meanwhile
            if unknown:
                engine = source.bind(None)
                fresh = await _try_all(
                    {one: trial(engine.encoder_proof(one), environment, able, folder) for one in unknown}, clock
                )
                remember(cache, key, {**known, **{name: one.reason for name, one in fresh.items() if one.lasting}})
                known = {**known, **{name: verdict.reason for name, verdict in fresh.items()}}
                log.info("worker.encoders_tried", engine=source.name, **told(fresh))
    reasons = {encoder: known[encoder] for encoder in source.encoders}
    working = frozenset(encoder for encoder, reason in reasons.items() if not reason)
    return Proven(
        name=source.name,
        engine=source.bind(working),
        reasons=reasons,
        ability=ability(source),
        bind=source.bind,
    )


def ability(source: EngineSource) -> str:
    """What a node calls its ability to make parts of a film, the same on every node with the same build of the engine.

    A build is told by the length of its program and by where that begins, which holds the id that a linker gave it.
    """
    digest = hashlib.sha256()
    with suppress(OSError), source.binary.open("rb") as file:
        digest.update(file.read(HEAD_BYTES))
        digest.update(str(file.seek(0, os.SEEK_END)).encode())
    return f"{source.name}-parts-{digest.hexdigest()[:12]}"


class Verdict(Struct, frozen=True, kw_only=True):
    """Why an encoder does not work (empty: it does), and whether that will be so the next time."""

    reason: str
    lasting: bool = True


def told(fresh: Mapping[str, Verdict]) -> dict[str, str]:
    """What was found, for one line of a log: the encoders that work, and the others by reason."""
    by_reason: dict[str, list[str]] = {}
    for encoder, verdict in fresh.items():
        by_reason.setdefault(verdict.reason, []).append(encoder)
    works = ", ".join(by_reason.pop("", []))
    fails = "; ".join(f"{', '.join(encoders)}: {reason}" for reason, encoders in by_reason.items())
    return {"works": works, "fails": fails}


def trial(command: Command, environment: Mapping[str, str], able: Able | None, folder: Path) -> Spec:
    """The command as a child that is shut in as engines are. `folder` is where it may write."""
    sandbox = None if able is None else sandbox_for(command, able, folder)
    return Spec(argv=command.argv, cwd=command.cwd or folder, env=environment, sandbox=sandbox)


async def _try_all(specs: Mapping[str, Spec], clock: Clock) -> Mapping[str, Verdict]:
    turns = asyncio.Semaphore(min(AT_ONCE, os.cpu_count() or 1))

    async def trial(encoder: str) -> tuple[str, Verdict]:
        async with turns:
            return encoder, await _try(specs[encoder], clock)

    return dict(await asyncio.gather(*map(trial, specs)))


async def _try(spec: Spec, clock: Clock) -> Verdict:
    try:
        child = await Child.start(spec, clock=clock)
    except CannotStart as error:
        return Verdict(reason=str(error), lasting=False)
    try:
        ended = await clock.wait_for(child.wait(), PROOF_TIMEOUT_S)
    except TimeoutError:
        return Verdict(reason=f"the trial took longer than {PROOF_TIMEOUT_S:g} s", lasting=False)
    finally:
        await asyncio.shield(child.stop(0.0))
    if ended.ok:
        return Verdict(reason="")
    # What went wrong comes first; what follows only tells who else gave up because of it.
    first = next((text for line in child.tail() if (text := _WHO.sub("", line.text).strip())), "")
    # Whoever was killed proves nothing about the encoder.
    own_end = (
        ended.code is not None or ended.signal == signal.SIGABRT
    )  # as VAAPI ends where its library is not installed
    return Verdict(reason=f"{first[:300]} ({ended})" if first else str(ended), lasting=own_end)


def key_of(binary: Path, able: Able | None) -> str:
    """Changes when the binary, a graphics driver or the sandbox does."""
    parts = [str(binary), "" if able is None else able.mechanism.value]
    try:
        facts = binary.stat()
        parts += [str(facts.st_size), str(facts.st_mtime_ns)]
    except OSError:
        parts.append("missing")
    for path in _DRIVER_FACTS:
        with suppress(OSError):
            parts.append(path.read_text(encoding="utf-8", errors="replace"))
    # Devices that come and go with containers, and where there is one the library that VAAPI loads when it is used: to look for that
    # takes 5 ms.
    parts += sorted(str(path) for path in Path("/dev").glob("nvidia*"))
    if cards := sorted(str(path) for path in Path("/dev").glob("dri/render*")):
        found = (path for pattern in ("libva-drm.so*", "*/libva-drm.so*") for path in Path("/usr/lib").glob(pattern))
        parts += [*cards, *sorted(map(str, found))]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def remembered(cache: Path, key: str) -> dict[str, str]:
    """What was found under a key; nothing where there is none, or the cache cannot be read."""
    try:
        document = json.loads(cache.read_text(encoding="utf-8"))
        found = document["proofs"][key]
        return {str(encoder): str(reason) for encoder, reason in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def remember(cache: Path, key: str, known: Mapping[str, str]) -> None:
    """Keep what was found, beside what is known of other binaries. A cache that cannot be written costs only time."""
    try:
        others = json.loads(cache.read_text(encoding="utf-8"))["proofs"]
    except (OSError, ValueError, KeyError, TypeError):
        others = {}
    kept = dict(list(others.items())[-7:]) if isinstance(others, dict) else {}
    part = cache.with_name(cache.name + ".part")
    with suppress(OSError):
        part.write_text(json.dumps({"proofs": {**kept, key: known}}, indent=1), encoding="utf-8")
        part.replace(cache)


def all_reasons(proven: Iterable[Proven]) -> dict[str, str]:
    """The reasons of every engine together, as the master is told them."""
    return {encoder: reason for one in proven for encoder, reason in one.reasons.items()}
