"""Become a node of the farm, however long no master answers."""

from collections.abc import Callable, Sequence

from msgspec import Struct

import millrace
from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.errors import RefusedError, UnreachableError
from millrace.domain.needs import EARLY
from millrace.runtime.backoff import Backoff
from millrace.runtime.clock import Clock
from millrace.telemetry.logs import logger
from millrace.wire.v1.work import RegisterRequest
from millrace.worker.heartbeat import Membership
from millrace.worker.identity import Identity
from millrace.worker.lease import Lease
from millrace.worker.proofs import Proven, all_reasons
from millrace.worker.terms import WorkerTerms

log = logger("worker")

BACKOFF = Backoff(base_s=0.2, cap_s=15.0)


class Registrar(Struct, frozen=True, kw_only=True):
    """Registers one worker; `clock` and `draw` time the repeats."""

    client: AsyncClient
    clock: Clock
    draw: Callable[[], float]

    async def register(
        self, terms: WorkerTerms, identity: Identity, proven: Sequence[Proven]
    ) -> tuple[Membership, Lease]:
        """The membership and the first lease.

        Raises:
            ClientError: a master refused the worker, for example its key. Silence and overload are waited out.
        """
        request = RegisterRequest(
            fingerprint=identity.fingerprint,
            boot_id=identity.boot_id,
            name=terms.name,
            slots=terms.slots,
            labels=dict(terms.labels),
            engines=[name + early for one in proven for name in (one.name, one.ability) for early in ("", EARLY)],
            encoders=all_reasons(proven),
            memory_mb=terms.memory_mb,
            facts={
                "version": millrace.__version__,
                "sessions": {family: count for one in proven for family, count in one.sessions.items()},
                **terms.facts,
            },
        )
        failures = 0
        while True:
            # The lease counts from the sending of the request that was answered, so each try is a call of its own.
            sent_s = self.clock.monotonic()
            try:
                reply = await self.client.do(work.register(request), patience_s=0.0)
            except (UnreachableError, RefusedError) as error:
                if isinstance(error, RefusedError) and error.status < 500 and error.status != 429:
                    raise
                failures += 1
                log.warning("worker.not_registered", reason=str(error))
                await self.clock.sleep(BACKOFF.wait_s(failures, self.draw))
            else:
                log.info("worker.registered", node=reply.node, epoch=reply.epoch, lease_s=reply.lease_ttl_s)
                membership = Membership(node=reply.node, epoch=reply.epoch, interval_s=reply.heartbeat_s)
                return membership, Lease(sent_s=sent_s, ttl_s=reply.lease_ttl_s)
