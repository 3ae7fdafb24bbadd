"""A worker says what it planned to masters that know of it, and to those of before it says the same without."""

import asyncio
from typing import Any

import msgspec
import pytest

from millrace.client.calls import Call
from millrace.client.errors import RefusedError
from millrace.wire.v1.problems import FieldError
from millrace.wire.v1.work import StartRequest
from millrace.worker.with_facts import with_facts


class Master:
    """Refuses these fields, as the door of a master does."""

    def __init__(self, *refused: str) -> None:
        self.refused = refused
        self.heard: list[dict[str, object]] = []

    async def do(self, call: Any, **_: object) -> str:
        self.heard.append(call)
        if self.refused and (call or self.refused != ("facts",)):
            errors = tuple(FieldError(field=name, message="there is no such field") for name in self.refused)
            raise RefusedError("cannot accept the request", status=400, kind="invalid", errors=errors)
        return "processing"


def say(master: Master) -> str:
    def call(facts: dict[str, object]) -> Call[str]:
        return facts  # type: ignore[return-value]  # what the fake takes for a call

    return asyncio.run(with_facts(master, call, {"plan": 1}))  # type: ignore[arg-type]


def test_a_master_that_knows_of_facts_is_told_once() -> None:
    master = Master()
    assert say(master) == "processing"
    assert master.heard == [{"plan": 1}]


def test_a_master_of_before_gets_the_same_without() -> None:
    master = Master("facts")
    assert say(master) == "processing"
    assert master.heard == [{"plan": 1}, {}]


def test_any_other_refusal_is_told() -> None:
    master = Master("attempt")
    with pytest.raises(RefusedError):
        say(master)
    assert len(master.heard) == 1


def test_no_facts_leave_no_field_behind() -> None:
    assert msgspec.json.encode(StartRequest(node="n", attempt=1)) == b'{"node":"n","attempt":1}'
