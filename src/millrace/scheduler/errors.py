"""Why a verb refuses: one type for each reaction of the caller."""

from msgspec import Struct


class Finding(Struct, frozen=True):
    """What is wrong with one field of a request, and what would be right."""

    field: str
    message: str
    allowed: tuple[str, ...] = ()


class InvalidError(Exception):
    """The request asks for what cannot be; `findings` names the fields. Correct it and send it again."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__("; ".join(f"{finding.field}: {finding.message}" for finding in findings))
        self.findings = findings


class NotFoundError(Exception):
    """There is no such job, task, node or file."""


class ConflictError(Exception):
    """The thing's present state does not allow the verb; nothing was changed."""


class StaleAttemptError(Exception):
    """The worker writes about an attempt that is no longer its own. Its first act is to stop the engine."""


class StaleEpochError(Exception):
    """The node's epoch is over: it fell silent, or registered anew. It stops its engines and registers again."""


class SupersededError(Exception):
    """Another worker has registered under this one's identity since, and lives. This one stops for good."""


class KeyReusedError(Exception):
    """The idempotency key was used with another body."""
