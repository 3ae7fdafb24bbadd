"""How checks are run: one after another, each in its time, and none ends the others."""

import asyncio

import pytest

from millrace.programs.doctor import finding
from millrace.programs.doctor.finding import Finding, Verdict, examine, failed, skipped, warning


async def _fine() -> str:
    return "as it should be"


async def _bad() -> str:
    raise failed("broken", "mend it")


async def _soon() -> str:
    raise warning("old", "renew it")


async def _nothing() -> str:
    raise skipped("not there")


async def _unforeseen() -> str:
    raise OSError(13, "Permission denied")


async def _wordless() -> str:
    raise ValueError


async def _for_ever() -> str:
    await asyncio.Event().wait()
    raise AssertionError("nobody sets it")


def test_every_check_has_its_finding_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "LIMIT_S", 0.01)
    told: list[Finding] = []
    looks = {
        "a": _fine, "b": _bad, "c": _soon, "d": _nothing, "e": _unforeseen, "f": _wordless, "g": _for_ever, "h": _fine
    }  # fmt: skip
    found = asyncio.run(examine(looks, told.append))
    assert found == told
    assert [(one.check, one.verdict, one.found, one.remedy) for one in found] == [
        ("a", Verdict.OK, "as it should be", ""),
        ("b", Verdict.FAILED, "broken", "mend it"),
        ("c", Verdict.WARNING, "old", "renew it"),
        ("d", Verdict.SKIPPED, "not there", ""),
        ("e", Verdict.FAILED, "[Errno 13] Permission denied", ""),
        ("f", Verdict.FAILED, "ValueError", ""),
        ("g", Verdict.FAILED, "no answer within 0.01 s", ""),
        ("h", Verdict.OK, "as it should be", ""),
    ]
