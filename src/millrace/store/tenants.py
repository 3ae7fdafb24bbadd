"""What a store keeps of tenants: their quotas, and the counts that these are judged by.

Only tenants of whom there is a record are counted; all others cost nothing. A count changes in the transaction of what it
counts, in the row of its tenant, so that it is exact in every race: :meth:`Store.add_jobs` refuses what is over a quota,
:meth:`Store.claim` passes over the tasks of a tenant that runs as many as it may, and :meth:`Store.move` makes no move that
lets a job which has ended wait again where the tenant has too many that wait.
"""

from collections.abc import Sequence
from typing import Protocol

from millrace.domain.tenants import Over, Rules, Tenant


class Tenants(Protocol):
    """Every method is one transaction, durable when it returns."""

    async def tenant(self, name: str) -> Tenant | None:
        """What is known of a tenant; None where there is no record of it."""

    async def tenants(self) -> Sequence[Tenant]:
        """Every one of which there is a record, by name."""

    async def set_tenant(self, name: str, rules: Rules, *, by_default: bool = False) -> Tenant:
        """Keep what is said of a tenant; its use is counted anew where it had no record. `by_default` does not replace what
        an operator said.
        """

    async def remove_tenant(self, name: str) -> bool:
        """Forget the record, with its limits; whether there was one."""

    async def add_upload(self, upload_id: str, tenant: str, size: int) -> Over | None:
        """Count an upload of so many bytes, from its announcement on; the quota that forbids it, and then nothing is changed."""

    async def release_upload(self, upload_id: str) -> None:
        """An upload is gone; one that was never counted may go, too."""

    async def release_uploads(self, *, below: str) -> None:
        """Those with ids below this one are gone."""
