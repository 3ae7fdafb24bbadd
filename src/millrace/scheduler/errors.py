"""Why a verb refuses: one type for each reaction of the caller."""

from collections.abc import Mapping

from msgspec import Struct

from millrace.domain.tenants import Over, Quota


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


class QuotaError(Exception):
    """A tenant has used up one of its quotas. Come again when it uses less, or after `retry_after_s` where that is known."""

    def __init__(self, tenant: str, over: Over, *, what: str, retry_after_s: int | None = None) -> None:
        """`what` cannot be done."""
        super().__init__(f"cannot {what}: {_SENTENCES[over.quota].format(tenant=tenant, over=over)}")
        self.tenant = tenant
        self.over = over
        self.retry_after_s = retry_after_s


_SENTENCES: Mapping[Quota, str] = {
    Quota.QUEUED: "tenant {tenant} has {over.used} jobs that have not ended, and its quota `queued` is {over.limit}; wait until "
    "some have, or cancel some",
    Quota.PER_DAY: "of tenant {tenant} {over.used} jobs were accepted today, and its quota `per_day` is {over.limit}; come again "
    "after midnight UTC",
    Quota.STORAGE: "the files of tenant {tenant} take {over.used} bytes, and its quota `storage_bytes` is {over.limit}; delete "
    "uploads, or let jobs name an output of their own",
    Quota.CONCURRENT: "tenant {tenant} runs {over.used} tasks, and its quota `concurrent` is {over.limit}",
}


class SupersededError(Exception):
    """Another worker has registered under this one's identity since, and lives. This one stops for good."""


class KeyReusedError(Exception):
    """The idempotency key was used with another body."""
