"""Requests that carry what a worker found and planned, so that people may read it while the job runs."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from millrace.client.async_client import AsyncClient
from millrace.client.calls import Call
from millrace.client.errors import RefusedError

T = TypeVar("T")
FIELD = "facts"


async def with_facts(
    client: AsyncClient, call: Callable[[dict[str, object]], Call[T]], facts: Mapping[str, object]
) -> T:
    """The answer to the call with these facts; a master that does not know of them yet gets it without.

    Raises what :meth:`AsyncClient.do` raises.
    """
    try:
        return await client.do(call(dict(facts)), patience_s=None)
    except RefusedError as error:
        if not any(one.field == FIELD for one in error.errors):
            raise
    return await client.do(call({}), patience_s=None)
