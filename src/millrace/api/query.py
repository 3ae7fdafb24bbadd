"""Read what stands in a query."""

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TypeVar, overload

from millrace.edge.refusal import invalid
from millrace.wire.v1.problems import FieldError

E = TypeVar("E", bound=StrEnum)


@overload
def choice(name: str, value: str, kind: type[E]) -> E: ...
@overload
def choice(name: str, value: str | None, kind: type[E]) -> E | None: ...
def choice(name: str, value: str | None, kind: type[E]) -> E | None:
    """A member of an enumeration, or a refusal that lists them; None where nothing was given."""
    if value is None:
        return None
    try:
        return kind(value)
    except ValueError:
        allowed = [member.value for member in kind]
        message = f"{value[:80]!r} is none of the allowed values"
        raise invalid(FieldError(field=name, message=message, allowed=allowed)) from None


def labels(pairs: Sequence[str]) -> Mapping[str, str]:
    """Labels from `key:value` or `key=value`; a key holds neither sign, so the first one divides."""
    found = {}
    for pair in pairs:
        at = min((index for index in (pair.find(":"), pair.find("=")) if index > 0), default=0)
        if at == 0:
            raise invalid(FieldError(field="label", message="must be KEY:VALUE, such as label=show:news"))
        found[pair[:at]] = pair[at + 1 :]
    return found
