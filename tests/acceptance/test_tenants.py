"""Tenants as people limit them, on two masters with one PostgreSQL."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import httpx2
import pytest
from outside import Running, Shell, running

KEY = "mr_one-key-for-all-masters"
AT_ONCE, TIMES = 100, 10


@pytest.fixture
def masters(shell: Shell, new_database: Callable[[], str]) -> Iterator[tuple[Running, Running]]:
    shell = shell.having(MILLRACE_API_KEY=KEY, MILLRACE_STORE=new_database(), MILLRACE_TENANT_PER_DAY="3")
    with ExitStack() as stack:
        one, two = (
            stack.enter_context(running(shell, "master", "--data", name, "--port", 0)) for name in ("one", "two")
        )
        yield one, two


async def _submit(urls: tuple[str, str]) -> list[int]:
    limits = httpx2.Limits(max_connections=AT_ONCE)
    async with httpx2.AsyncClient(headers={"x-api-key": KEY}, limits=limits, timeout=60, trust_env=False) as client:

        async def post(url: str) -> int:
            job = {"scenario": "720p30-h264", "tenant": "acme"}
            return (await client.post(f"{url}/v1/jobs", json=job)).status_code

        found: list[int] = []
        for _ in range(TIMES):
            found += await asyncio.gather(*(post(urls[number % 2]) for number in range(AT_ONCE)))
        return found


def test_of_a_thousand_jobs_at_two_masters_ten_are_accepted(masters: tuple[Running, Running]) -> None:
    one, two = masters
    made = one.cli("tenants", "set", "acme", "--queued", 10, "--storage", "2GB", "-o", "json").json()
    assert made["quotas"]["storage_bytes"] == {"limit": 2 * 10**9, "used": 0}
    statuses = asyncio.run(_submit((one.url, two.url)))
    assert (statuses.count(201), statuses.count(429)) == (10, 990)
    assert two.cli("tenants", "show", "acme", "-o", "json").json()["quotas"]["queued"] == {"limit": 10, "used": 10}
    assert "10 of 10" in two.cli("tenants", "list").out
    refused = two.cli("jobs", "submit", "/media/a.mp4", "--tenant", "acme")
    assert (refused.code, "its quota `queued` is 10" in refused.err) == (1, True)
    # Of all others the settings say how many they may have.
    codes = [one.cli("jobs", "submit", "/media/a.mp4").code for _ in range(4)]
    assert codes == [0, 0, 0, 1]
    weighted = one.cli("tenants", "set", "acme", "--weight", 3, "-o", "json").json()
    assert (weighted["weight"], weighted["quotas"]["queued"]["limit"]) == (3, 10)
    assert "3 of its jobs for one of another tenant" in two.cli("tenants", "show", "acme").out
    assert one.cli("tenants", "set", "acme", "--weight", 0).code == 2
    wrong = one.cli("tenants", "set", "acme", "--queued", "many")
    assert (wrong.code, "write a whole number, or none" in wrong.err) == (2, True)
    gone = one.cli("tenants", "remove", "acme")
    assert (gone.code, gone.out) == (0, "tenant acme is limited by the settings alone\n")
    assert one.cli("tenants", "show", "nobody").code == 1
