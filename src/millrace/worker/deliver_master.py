"""Deliver to the masters, who keep the files: through one of them, or directly to where they keep them."""

from pathlib import Path

from millrace.client import work
from millrace.client.async_client import AsyncClient
from millrace.client.errors import ClientError, StaleError
from millrace.domain.failures import FailureClass
from millrace.wire.v1.work import OutputReport
from millrace.worker.control import Control
from millrace.worker.deliver import Delivery
from millrace.worker.failure import TaskFailedError, from_client_error
from millrace.worker.shared_store import SharedStore


class MasterDestination:
    """The master keeps the files; they are replaced as a whole when the attempt completes."""

    def __init__(self, client: AsyncClient, shared: SharedStore | None = None) -> None:
        """`client` speaks to the masters; `shared` is their store, where this worker reaches it."""
        self._client = client
        self._shared = shared

    async def check(self, job: str, *, overwrite: bool) -> None:
        """The master always has a place."""

    async def settle(self, folder: Path) -> None:
        """Nothing goes over the network before it is known to be good."""

    async def publish(self, delivery: Delivery, control: Control) -> list[OutputReport]:
        """Send each file; the master shows none of them before the attempt is reported complete."""
        if self._shared is not None:
            locations = await self._shared.store(delivery, control)
            if locations is not None:
                return [one.reported(where) for one, where in zip(delivery.products, locations, strict=True)]
        reports = []
        for product in delivery.products:
            await control.gate()
            call = work.put_output(
                delivery.task,
                node=delivery.node,
                attempt=delivery.attempt,
                name=product.name,
                path=delivery.folder / product.name,
                size=product.size,
            )
            try:
                view = await self._client.do(call, patience_s=120.0)
            except StaleError:
                raise
            except ClientError as error:
                raise from_client_error(error, f"send {product.name} to the master") from error
            if (view.sha256, view.size) != (product.sha256, product.size):
                raise TaskFailedError(
                    FailureClass.NETWORK, f"cannot send {product.name} to the master: it arrived with another content"
                )
            reports.append(product.reported(view.url or view.path or product.name))
        return reports
