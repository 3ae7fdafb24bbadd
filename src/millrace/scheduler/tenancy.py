"""One tenant's view of the farm: what belongs to others is not there."""

from collections.abc import Sequence
from typing import Any, cast

from msgspec.structs import replace

from millrace.domain.batches import Batch, NewBatch
from millrace.domain.records import Job, NewJob, Transition
from millrace.domain.schedules import NewSchedule, Schedule
from millrace.domain.tenants import Over, Rules, Tenant
from millrace.domain.webhooks import NewWebhook, Webhook
from millrace.scheduler.farm import Farm
from millrace.store.many import BatchAdded
from millrace.store.store import Added, JobFilter, JobPage, Store

_PASSED_ON = frozenset({
    "now", "ping", "class_of", "last_cursor", "masters_behind",
    # These are asked with the id of a job, or of a task of it, that `job` has let through.
    # And with the id of a webhook, that `webhook` has.
    # And with the id of an upload, whose card was read.
    "release_upload", "note_arrival", "arrived_tasks", "forget_arriving",
    "remove_webhook", "rotate_webhook", "deliveries", "replay_messages",
    # And with the id of a batch or a schedule, that `batch` or `schedule` has.
    "awaited", "batch_jobs", "set_schedule_due", "remove_schedule", "run_schedule", "runs",
    "input_awaited", "tasks", "task", "standings", "attempts", "outputs", "facts", "transitions", "move", "read_log",
})  # fmt: skip


def within(farm: Farm, tenant: str) -> Farm:
    """The farm as this tenant sees it."""
    return replace(farm, store=cast("Store", _TenantStore(farm.store, tenant)))


class _TenantStore:
    """A store with the jobs of one tenant. What neither stands here nor is passed on does not exist, so that a verb that is
    new, or none of a tenant's, fails instead of showing what it should not.
    """

    def __init__(self, store: Store, tenant: str) -> None:
        self._store = store
        self._tenant = tenant
        self._seen: tuple[str | None, str] | None = None
        """Between these two cursors there is nothing of this tenant's."""

    def __getattr__(self, name: str) -> Any:
        if name in _PASSED_ON:
            return getattr(self._store, name)
        raise AttributeError(f"a tenant's view of the store has no {name}")

    async def add_jobs(self, jobs: Sequence[NewJob]) -> Sequence[Added]:
        if any(job.tenant != self._tenant for job in jobs):
            raise AssertionError("a job of another tenant")
        return await self._store.add_jobs(jobs)

    async def job(self, ref: str | int) -> Job | None:
        found = await self._store.job(ref)
        return found if found is not None and found.tenant == self._tenant else None

    async def jobs(self, only: JobFilter, *, cursor: str | None, limit: int) -> JobPage:
        # Asked also where the answer is empty: whether a cursor is one does not depend on who asks.
        page = await self._store.jobs(replace(only, tenant=self._tenant), cursor=cursor, limit=limit)
        return page if only.tenant in (None, self._tenant) else JobPage(jobs=(), next_cursor=None)

    async def add_batch(self, batch: NewBatch, jobs: Sequence[NewJob]) -> BatchAdded:
        if batch.tenant != self._tenant or any(job.tenant != self._tenant for job in jobs):
            raise AssertionError("a batch of another tenant")
        return await self._store.add_batch(batch, jobs)

    async def batch(self, batch_id: str) -> Batch | None:
        found = await self._store.batch(batch_id)
        return found if found is not None and found.tenant == self._tenant else None

    async def batches(self, *, tenant: str | None, below: int | None, limit: int) -> Sequence[Batch]:
        if tenant not in (None, self._tenant):
            return ()
        return await self._store.batches(tenant=self._tenant, below=below, limit=limit)

    async def add_schedule(self, schedule: NewSchedule) -> Schedule | None:
        if schedule.tenant != self._tenant:
            raise AssertionError("a schedule of another tenant")
        return await self._store.add_schedule(schedule)

    async def schedules(self) -> Sequence[Schedule]:
        return [one for one in await self._store.schedules() if one.tenant == self._tenant]

    async def schedule(self, schedule_id: str) -> Schedule | None:
        found = await self._store.schedule(schedule_id)
        return found if found is not None and found.tenant == self._tenant else None

    async def add_webhook(self, webhook: NewWebhook) -> Webhook:
        if webhook.tenant != self._tenant:
            raise AssertionError("a webhook of another tenant")
        return await self._store.add_webhook(webhook)

    async def webhooks(self) -> Sequence[Webhook]:
        return [one for one in await self._store.webhooks() if one.tenant == self._tenant]

    async def webhook(self, webhook_id: str) -> Webhook | None:
        found = await self._store.webhook(webhook_id)
        return found if found is not None and found.tenant == self._tenant else None

    async def tenant(self, name: str) -> Tenant | None:
        return await self._store.tenant(name) if name == self._tenant else None

    async def set_tenant(self, name: str, rules: Rules, *, by_default: bool = False) -> Tenant:
        if name != self._tenant or not by_default:
            raise AssertionError("a tenant does not set its own limits")
        return await self._store.set_tenant(name, rules, by_default=True)

    async def add_upload(self, upload_id: str, tenant: str, size: int) -> Over | None:
        if tenant != self._tenant:
            raise AssertionError("an upload of another tenant")
        return await self._store.add_upload(upload_id, tenant, size)

    async def events(
        self, *, after: str | None, limit: int, job_id: str | None = None, tenant: str | None = None
    ) -> Sequence[Transition]:
        if job_id is not None:
            return await self._store.events(after=after, limit=limit, job_id=job_id)
        if tenant not in (None, self._tenant):
            return ()
        start = self._seen[1] if self._seen is not None and self._seen[0] == after else after
        # Taken before the look: what comes in between is looked at again.
        newest = await self._store.last_cursor()
        found = await self._store.events(after=start, limit=limit, tenant=self._tenant)
        if not found and newest is not None:
            # Or whoever follows a quiet tenant of a busy farm would read all of its transitions every time.
            self._seen = (after, newest)
        return found
