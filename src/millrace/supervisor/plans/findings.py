"""What is to be said about a plan; apart from its reading, which is long."""

from collections.abc import Iterable

from msgspec import Struct


class Finding(Struct, frozen=True, order=True):
    """One thing that is to be said about a plan.

    `source` is the included file, or the variable, that it stands in; empty for the plan itself. `line` counts from 1; 0
    where none is meant. `message` says what is wrong, and after a semicolon how to mend it.
    """

    source: str
    line: int
    path: str
    message: str

    def __str__(self) -> str:
        line = f"line {self.line}" if self.line else ""
        where = ", ".join(part for part in (self.source, line) if part)
        return f"{where}: {self.path} {self.message}".removeprefix(": ").replace("  ", " ").strip()

    @property
    def mend(self) -> str:
        """What to do about it; empty where the message says it all."""
        return self.message.partition("; ")[2]


class PlanError(Exception):
    """A plan cannot be used; `findings` says all that is wrong with it."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        """Keep every finding; the message joins them."""
        self.findings = tuple(sorted(findings))
        super().__init__("cannot use this plan: " + "; ".join(map(str, self.findings)))
