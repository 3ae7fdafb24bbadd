"""What a check finds, and how checks are run: each with a time limit, and none can end the others."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum

from msgspec import Struct

LIMIT_S = 30.0


class Verdict(StrEnum):
    """How it stands."""

    OK = "ok"
    WARNING = "warning"  # it works, and may not for long, or not as well as it could
    FAILED = "failed"  # something that is asked for does not work
    SKIPPED = "skipped"  # there is nothing to look at


class Finding(Struct, frozen=True, kw_only=True):
    """What one check found. `remedy` says what to do, where something is wrong."""

    check: str
    verdict: Verdict
    found: str
    remedy: str = ""


class Told(Exception):  # noqa: N818  how a check says anything but "all is well"
    """Ends a check with a verdict."""

    def __init__(self, verdict: Verdict, found: str, remedy: str = "") -> None:
        super().__init__(found)
        self.verdict = verdict
        self.found = found
        self.remedy = remedy


Look = Callable[[], Awaitable[str]]
"""Gives what was found where all is well, or raises Told; any other error is a failure, with its sentence."""


def failed(found: str, remedy: str) -> Told:
    """It does not work."""
    return Told(Verdict.FAILED, found, remedy)


def warning(found: str, remedy: str) -> Told:
    """It works for now."""
    return Told(Verdict.WARNING, found, remedy)


def skipped(found: str) -> Told:
    """There is nothing to look at."""
    return Told(Verdict.SKIPPED, found)


async def examine(checks: Mapping[str, Look], tell: Callable[[Finding], None]) -> Sequence[Finding]:
    """Run checks one after another, each in its time; `tell` hears of each as soon as it is known."""
    findings = []
    for name, look in checks.items():
        findings.append(await _examined(name, look))
        tell(findings[-1])
    return findings


async def _examined(name: str, look: Look) -> Finding:
    try:
        async with asyncio.timeout(LIMIT_S):
            return Finding(check=name, verdict=Verdict.OK, found=await look())
    except Told as told:
        return Finding(check=name, verdict=told.verdict, found=told.found, remedy=told.remedy)
    except TimeoutError:
        return Finding(check=name, verdict=Verdict.FAILED, found=f"no answer within {LIMIT_S:g} s")
    except Exception as error:  # noqa: BLE001  whatever goes wrong here is what was asked for
        return Finding(check=name, verdict=Verdict.FAILED, found=str(error) or type(error).__name__)
