"""Which server a master connects to, and how long it waits for one: without any server."""

import asyncio
from typing import Any

import asyncpg
import pytest

from millrace.store.postgres.connect import CONNECT_MOST_S, Servers

TWO = "postgresql://somebody@one:1,two:2/farm?target_session_attrs=read-write"


class Answering:
    """What stands in for `asyncpg.connect`: servers that are gone, that wait for their turn, or answer after a while."""

    def __init__(self, **answers: float | Exception) -> None:
        self.answers = answers
        self.limits: list[tuple[str, float]] = []

    async def connect(self, url: str, *, timeout: float, **_: Any) -> Any:  # noqa: ASYNC109  as asyncpg has it
        host = url.partition("@")[2].partition(":")[0]
        self.limits.append((host, timeout))
        answer = self.answers[host]
        if isinstance(answer, Exception):
            raise answer
        if answer > timeout:
            raise TimeoutError
        return Connection()


class Connection:
    _transport: Any = None

    def __init__(self) -> None:
        self._transport = self

    def get_extra_info(self, _: str) -> None:
        return None


def rounds(servers: Servers) -> int:
    """How many it takes until there is a connection."""

    async def ask() -> int:
        for number in range(1, 10):
            try:
                await servers.connect()
            except (OSError, asyncpg.TargetServerAttributeNotMatched):
                continue
            return number
        raise AssertionError("nobody was ever reached")

    return asyncio.run(ask())


def test_a_server_that_has_much_to_do_is_reached_though_the_other_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = Answering(one=ConnectionRefusedError(111, "refused"), two=7.0)
    monkeypatch.setattr(asyncpg, "connect", answering.connect)
    servers = Servers(TWO)
    assert rounds(servers) == 3
    assert [limit for host, limit in answering.limits if host == "two"] == [2.0, 4.0, 8.0]
    # Once it was reached, the next silence is noticed as soon as ever.
    answering.limits.clear()
    assert rounds(servers) == 3
    assert answering.limits[0] == ("two", 2.0)


def test_nobody_is_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = Answering(one=1000.0, two=1000.0)
    monkeypatch.setattr(asyncpg, "connect", answering.connect)
    with pytest.raises(AssertionError, match="nobody"):
        rounds(Servers(TWO))
    assert max(limit for _, limit in answering.limits) == CONNECT_MOST_S


def test_a_silent_server_hides_no_standby_that_is_about_to_be_promoted(monkeypatch: pytest.MonkeyPatch) -> None:
    answering = Answering(one=1000.0, two=asyncpg.TargetServerAttributeNotMatched("not yet"))
    monkeypatch.setattr(asyncpg, "connect", answering.connect)
    with pytest.raises(AssertionError, match="nobody"):
        rounds(Servers(TWO))
    assert {limit for _, limit in answering.limits} == {2.0}
