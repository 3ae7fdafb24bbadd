"""What this machine can do to shut a program in: each mechanism is tried with the program itself, once."""

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from millrace.process.capture import capture
from millrace.process.sandbox import Able, Mechanism, Sandbox
from millrace.process.values import CannotStart, Spec
from millrace.runtime.clock import Clock

TRIAL_TIMEOUT_S = 30.0
_known: dict[tuple[str, ...], Able] = {}  # of the whole process, as the kernel is


async def able(trial: Sequence[str], *, clock: Clock) -> Able:
    """The best mechanism in which `trial` (an absolute program with arguments that make it end at once, well) works.

    The answer is kept for the life of this process.
    """
    key = tuple(trial)
    if key not in _known:
        _known[key] = await _try_all(key, clock)
    return _known[key]


async def _try_all(trial: tuple[str, ...], clock: Clock) -> Able:
    refused: list[str] = []
    for one in _candidates():
        why = await _try(trial, one, clock)
        if why is None:
            return Able(
                mechanism=one.mechanism, user_namespace=one.user_namespace, bwrap=one.bwrap, refused=tuple(refused)
            )
        how = f"{one.mechanism} with users of its own" if one.user_namespace else str(one.mechanism)
        refused.append(f"{how}: {why}")
    return Able(mechanism=Mechanism.NONE, refused=tuple(refused))


def _candidates() -> list[Able]:
    found = []
    if os.geteuid() == 0:
        found.append(Able(mechanism=Mechanism.NAMESPACES))
    found.append(Able(mechanism=Mechanism.NAMESPACES, user_namespace=True))
    bwrap = shutil.which("bwrap")
    if bwrap is not None:
        found.append(Able(mechanism=Mechanism.BUBBLEWRAP, user_namespace=True, bwrap=bwrap))
    found.append(Able(mechanism=Mechanism.FILTER))
    return found


async def _try(trial: tuple[str, ...], candidate: Able, clock: Clock) -> str | None:
    """None where it worked, else why not."""
    spec = Spec(
        argv=trial,
        cwd=Path("/"),
        env={"PATH": os.defpath, "LC_ALL": "C.UTF-8"},
        sandbox=Sandbox(able=candidate),
    )
    try:
        done = await capture(spec, clock=clock, timeout_s=TRIAL_TIMEOUT_S, grace_s=0.0, max_chars=1 << 16)
    except CannotStart as error:
        return str(error)
    if done.timed_out:
        return f"{trial[0]} did not end within {TRIAL_TIMEOUT_S:g} s"
    if done.exit.ok:
        return None
    said = (done.stderr or done.stdout).strip().splitlines()
    return f"{trial[0]} {done.exit}" + (f": {said[0][:200]}" if said else "")
