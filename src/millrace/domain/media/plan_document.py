"""A plan as plain data, so that workers can hand it to each other. Pure."""

import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import PurePosixPath
from typing import Any

import msgspec

from millrace.domain.media.outputs import Plan

_FRACTION = re.compile(r"-?[0-9]{1,30}(/[0-9]{1,30})?")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")


class PlanError(Exception):
    """The document is no plan that this version could follow; the sentence says why."""


def to_document(plan: Plan) -> dict[str, Any]:
    """The plan as JSON data; fractions as text such as `30000/1001`."""
    document: dict[str, Any] = msgspec.to_builtins(plan, enc_hook=str)
    return document


def plan_from(document: Mapping[str, object]) -> Plan:
    """Read back what :func:`to_document` gave.

    Raises:
        PlanError: it is none, or names a file outside the folder of the output. It comes from another machine.
    """
    try:
        plan = msgspec.convert(document, Plan, dec_hook=_read)
    except (msgspec.ValidationError, ValueError, ZeroDivisionError) as error:
        raise PlanError(f"cannot follow the plan of the worker that divided the job: {error}") from None
    for file in plan.files:
        if not _is_inside(file.path):
            raise PlanError(
                f"cannot follow the plan of the worker that divided the job: {file.path[:80]!r} is no file's name"
            )
    for video in plan.videos:
        if not _NAME.fullmatch(video.name):
            raise PlanError(
                f"cannot follow the plan of the worker that divided the job: {video.name[:80]!r} is no name"
            )
    return plan


def _read(kind: type, value: Any) -> Any:
    # An exponent could stand for a number that takes a lifetime to write out.
    if kind is Fraction and isinstance(value, str) and _FRACTION.fullmatch(value):
        return Fraction(value)
    raise ValueError(f"{value!r} is no {kind.__name__}")


def _is_inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and all(_NAME.fullmatch(part) for part in parts)
