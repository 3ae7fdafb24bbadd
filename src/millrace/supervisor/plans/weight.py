"""One thing to think about in a plan that works."""

from enum import StrEnum

from msgspec import Struct


class Weight(StrEnum):
    """How much a finding matters."""

    ERROR = "error"
    WARNING = "warning"
    SUGGESTION = "suggestion"


class Advice(Struct, frozen=True):
    """One thing to think about."""

    weight: Weight
    path: str
    message: str
