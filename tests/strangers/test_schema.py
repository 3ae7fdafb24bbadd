"""Both APIs against their own OpenAPI documents: requests that the document allows and requests that it does not, drawn by
Schemathesis; every answer is one that the document knows, and none is a fault of ours.
"""

import asyncio
import contextlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
import schemathesis
from api_serving import KEY, listening
from control_rig import Rig as ControlRig
from control_rig import play
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from strangers.budget import SEED, rounds, tell
from strangers.test_raw_bytes import rules_of
from test_control_access import door

from millrace.api import openapi
from millrace.domain.masters import Presence
from millrace.runtime.clock import SystemClock
from millrace.scheduler.leadership import Leadership
from millrace.supervisor.control import description

CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
EXAMPLES = 4
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
ENDLESS = {"/v1/events"}
"""A stream of events does not end; its head is looked at in the matrix."""
ENDING = {"/v1/shutdown"}


def leading() -> Leadership:
    """Of a master that has its store for itself, so that what it says of masters is no 503."""
    clock = SystemClock()
    presence = Presence(id="m1", name="here", version="1")
    return Leadership(None, clock, presence, alone=True, complain=print)  # type: ignore[arg-type]  it asks no store


def operations(document: Mapping[str, Any], without: set[str]) -> Iterator[Any]:
    config = schemathesis.config.SchemathesisConfig()
    for found in schemathesis.openapi.from_dict(dict(document), config=config).get_all_operations():
        operation = found.ok()
        if operation.path not in without:
            yield operation


class Asker:
    """Asks a server that listens about drawn cases, some of them about what is really there."""

    def __init__(self, url: str, real: Mapping[str, Sequence[str]]) -> None:
        self._url = url
        self._real = real
        self.count = 0
        self.faults: dict[str, str] = {}

    def ask(self, case: Case) -> None:
        self.count += 1
        for name in case.path_parameters:
            if self.count % 2 and (known := self._real.get(name)):
                case.path_parameters[name] = known[self.count // 2 % len(known)]
        response = case.call(base_url=self._url, headers={"X-API-Key": KEY}, timeout=60)
        try:
            case.validate_response(response, checks=CHECKS)
        except FailureGroup as error:
            self.faults.setdefault(
                f"{case.operation.label} {response.status_code}", f"{error}\n{case.as_curl_command()}"
            )

    def ask_all(self, document: Mapping[str, Any], without: set[str]) -> None:
        found = [*operations(document, without)]
        for number in rounds(1):
            for operation in found:
                for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                    self._some(operation, mode, SEED + number)

    def _some(self, operation: Any, mode: GenerationMode, drawn: int) -> None:
        @seed(drawn)
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, phases=[Phase.generate],
            suppress_health_check=[*HealthCheck],
        )  # fmt: skip
        @given(operation.as_strategy(generation_mode=mode))
        def some(case: Case) -> None:
            self.ask(case)

        # Of some routes there is nothing that the document does not allow.
        with contextlib.suppress(Unsatisfiable, SkipTest):
            some()


def refuse(asker: Asker, what: str) -> None:
    tell(what, requests=asker.count, faults=len(asker.faults))
    assert not asker.faults, "\n\n".join(f"{name}: {why}" for name, why in asker.faults.items())


@pytest.mark.fuzz
def test_a_farm_answers_as_its_document_says(tmp_path: Path) -> None:
    async def body() -> Asker:
        async with leading() as leadership, listening(tmp_path, leadership=leadership) as rig:
            job, node = await rig.submit(), await rig.register()
            real = {"ref": [job["id"], "1", node.id, "one"], "name": ["web-hls"]}
            asker = Asker(str(rig.client.base_url), real)
            await asyncio.to_thread(asker.ask_all, openapi.describe("1"), ENDLESS)
            return asker

    refuse(asyncio.run(body()), "the farm's document")


@pytest.mark.fuzz
def test_a_supervisor_answers_as_its_document_says(tmp_path: Path) -> None:
    plan = "global: {control: {changes: admin}}\nprocesses:\n  web: {command: [sleep, '1000']}\n  cron: {command: ['true'], schedule: '0 0 1 1 *'}\n"
    found: list[Asker] = []

    async def body(rig: ControlRig) -> None:
        async with door(rig, [rules_of()]) as asking:
            asker = Asker(str(asking.base_url), {"name": ["web", "cron"]})
            found.append(asker)
            document = json.loads(description.document("1"))
            await asyncio.to_thread(asker.ask_all, document, ENDLESS | ENDING)

    play(tmp_path, body, plan)
    refuse(found[0], "the supervisor's document")
